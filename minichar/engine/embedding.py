"""Character embeddings: a learned D-dimensional input vector for each character (Bengio et al. 2003).

    x = E[:, k]              character k

    dE[:, k] = Σ dx          over all steps and sequences with character k

Without an embedding, the first layer has a column of G weights for each of the V characters (`Wx`). With a
large vocabulary, the V·G weights of `Wx` account for most of a network's parameters. With an embedding, V·D +
D·G weights replace the V·G weights. A trained embedding can be folded into `Wx` (`without_embedding`):

    Wx = W_x @ E
"""

from dataclasses import replace

from minichar.devices.backend import Array, Backend, as_columns
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters


class Embedding:
    """Embedding layer: ``x_t = E[:, k_t]``.

    Parameters
    ----------
    E, dE : array, (D, V)
        The embeddings, one column per character, and their gradient, filled by `backward`.
    backend : Backend
    """

    def __init__(self, E: Array, dE: Array, backend: Backend) -> None:
        self.E, self.dE, self.backend = E, dE, backend

    def forward(self, ids: Array) -> Array:
        """Return the embeddings x ``(n, D, B)`` of the characters `ids` ``(n, B)``."""
        return self.E.take(ids, axis=1).transpose(1, 0, 2)

    def backward(self, dx: Array, ids: Array) -> None:
        """Compute `dE` from dx ``(n, D, B)`` and the characters `ids` ``(n, B)`` of the forward pass."""
        self.backend.sum_columns(as_columns(dx), ids.reshape(-1), out=self.dE)


def without_embedding(config: Config, parameters: Parameters) -> tuple[Config, Parameters]:
    """Return the configuration and parameters of the equivalent network with one-hot inputs."""
    plain, H = replace(config, embedding=0, tied=False), config.rnn_size
    folded = Parameters(plain.shapes(), parameters.dtype, parameters.backend)
    ours, theirs = parameters.under("layer1."), folded.under("layer1.")
    for name, view in folded.items():
        if not name.startswith("layer1."):
            view[...] = parameters[name]
    E = parameters["readout.W"][:, :-1].T if config.tied else parameters["embedding.E"]  # (D, V)
    for product in config.cell.products:
        theirs[product.name][...] = ours[product.name][:, : theirs[product.name].shape[1]]
        theirs[product.name][:, -1] = ours[product.name][:, -1]
    for product, rows in config.cell.input_rows(H):
        W_x = ours[product.name][:, H * product.reads_state : -1]  # (G, D)
        # Do not use BLAS here, because its summation order depends on the machine. An exact model
        # (`minichar.engine.exact`) must generate the same text on every machine.
        for w, e in zip(W_x.T, E, strict=True):
            theirs["Wx"][rows] += w[:, None] * e  # (G, V)
    return plain, folded
