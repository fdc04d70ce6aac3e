"""PyTorch's side of the comparison, written as its documentation would have it.

`torch.nn`'s recurrent layers, cross-entropy, element-wise clipping and RMSprop in its
for-each form, with the same sizes, initial state, order of arrays (T first) and threads.
Sampling is a loop over its cells in ``inference_mode``, which is faster than its layers one
step at a time. What was tried to make it faster, and which form of each choice won, stands
in docs/performance.md.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from minichar.bench.work import PIECE, Work
from minichar.errors import MinicharError

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
        form = config.cell.torch
        if form is None:
            raise MinicharError(f"{config.cell.title} has no PyTorch form to compare with")
        layers = getattr(nn, form.name)
        between = config.dropout if config.num_layers > 1 else 0.0
        inputs = V if self.embedding is None else H
        self.layers = layers(inputs, H, config.num_layers, dropout=between).to(device)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(H, V).to(device)
        modules = filter(None, (self.layers, self.readout, self.embedding))
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimiser: Any = None
        ids = torch.as_tensor(work.ids(), device=device)  # (T+1, B)
        self.inputs, self.targets = ids[:-1].contiguous(), ids[1:].contiguous()  # each (T, B)
        self.last = torch.zeros(work.streams, dtype=torch.long, device=device)  # (B,)
        self.state: Any = None
        cell = getattr(nn, f"{form.name}Cell")
        self.cells = [cell(inputs if layer == 0 else H, H).to(device) for layer in range(config.num_layers)]
        self.states: list[Any] = [None] * config.num_layers
        if not work.trains:
            self.layers.eval()
            self.dropout.eval()

    def logits(self, ids: Any) -> Any:
        """Return the logits ``(T, B, V)`` of the characters `ids` ``(T, B)``, from the carried state."""
        h, state = self.layers(self.vectors(ids), self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return self.readout(self.dropout(h))

    def vectors(self, ids: Any) -> Any:
        """Return a vector for each id, one-hot or embedded."""
        if self.embedding is not None:
            return self.embedding(ids)
        return self.torch.nn.functional.one_hot(ids, self.work.vocab_size).to(self.readout.weight.dtype)

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
                h = self.vectors(self.last)  # (B, V or H)
                for layer, cell in enumerate(self.cells):
                    self.states[layer] = cell(h, self.states[layer])
                    state = self.states[layer]
                    h = state[0] if isinstance(state, tuple) else state  # (B, H)
                p = torch.softmax(self.readout(h), dim=-1)  # (B, V)
                self.last = torch.multinomial(p, 1)[:, 0]  # (B,)
            self.last.tolist()
