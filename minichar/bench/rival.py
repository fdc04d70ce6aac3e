"""PyTorch's side of the comparison, written as its documentation would have it.

`torch.nn`'s recurrent layers, cross-entropy, element-wise clipping and RMSprop in its
for-each form, with the same sizes, initial state, order of arrays (T first) and threads.
Sampling is a loop in ``inference_mode``. What was tried to make it faster, and which
form of each choice won, stands in docs/performance.md.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from minichar.bench.work import PIECE, Work

LARGEST_ONEHOT = 256
"""Above this vocabulary an embedding, H wide, beats one-hot vectors."""


def prepare(work: Work) -> Callable[[], None]:
    """Return a function that does one unit of the work."""
    torch: Any = import_module("torch")
    if work.threads:
        torch.set_num_threads(work.threads)
    torch.manual_seed(1)
    rival = Rival(torch, work)
    if work.trains:
        return rival.learn
    return rival.evaluate if work.kind == "evaluate" else rival.sample


class Rival:
    """The model and what it is fed.

    Parameters
    ----------
    torch : module
    work : Work
        Scheduled sampling has no counterpart here: PyTorch's layers run over a whole chunk.
    """

    def __init__(self, torch: Any, work: Work) -> None:
        self.torch, self.work = torch, work
        config, nn = work.config(), torch.nn
        V, H = config.vocab_size, config.rnn_size
        device = torch.device("cuda" if work.device.startswith("gpu") else "cpu")
        self.embedding = nn.Embedding(V, H).to(device) if V > LARGEST_ONEHOT else None
        layers = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[config.model]
        between = config.dropout if config.num_layers > 1 else 0.0
        inputs = V if self.embedding is None else H
        self.layers = layers(inputs, H, config.num_layers, dropout=between).to(device)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(H, V).to(device)
        modules = [self.layers, self.readout, *filter(None, [self.embedding])]
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimiser: Any = None
        ids = torch.as_tensor(work.ids(), device=device)  # (T+1, B)
        self.inputs, self.targets = ids[:-1].contiguous(), ids[1:].contiguous()  # each (T, B)
        self.last = torch.zeros((1, work.streams), dtype=torch.long, device=device)  # (1, B)
        self.state: Any = None
        if not work.trains:
            self.layers.eval()
            self.dropout.eval()

    def logits(self, ids: Any) -> Any:
        """Return the logits ``(T, B, V)`` of the characters `ids` ``(T, B)``, from the carried state."""
        functional = self.torch.nn.functional
        if self.embedding is None:
            x = functional.one_hot(ids, self.work.vocab_size).to(self.readout.weight.dtype)  # (T, B, V)
        else:
            x = self.embedding(ids)  # (T, B, H)
        h, state = self.layers(x, self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return self.readout(self.dropout(h))

    def loss(self) -> Any:
        """Return the mean loss of the chunk."""
        logits = self.logits(self.inputs)  # (T, B, V)
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.targets.flatten())

    def learn(self) -> None:
        """Learn the chunk."""
        torch = self.torch
        if self.optimiser is None:
            self.optimiser = torch.optim.RMSprop(self.parameters, lr=2e-3, alpha=0.95, foreach=True)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_value_(self.parameters, 5.0 / self.work.seq_length, foreach=True)
        self.optimiser.step()
        loss.item()

    def evaluate(self) -> None:
        """Measure the loss of the chunk."""
        with self.torch.inference_mode():
            self.loss().item()

    def sample(self) -> None:
        """Write `PIECE` characters a stream."""
        torch = self.torch
        with torch.inference_mode():
            for _ in range(PIECE):
                p = torch.softmax(self.logits(self.last)[0], dim=-1)  # (B, V)
                self.last = torch.multinomial(p, 1).T  # (1, B)
            self.last.tolist()
