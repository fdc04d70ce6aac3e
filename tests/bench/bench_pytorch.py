"""PyTorch benchmarks: the same computations as in `bench_minichar`, in idiomatic PyTorch.

Training uses the recurrent layers of `torch.nn`, cross-entropy, element-wise clipping and the foreach
implementation of RMSprop. The sampling benchmark calls recurrent cells in a loop, because calling the layers
one step at a time is slower. docs/measured/bench.md describes other measured configurations.

On an NVIDIA GPU, PyTorch's layers use cuDNN and, like minichar, compute in full float32 precision.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from bench_work import LAYERS, PIECE, Work, waiting

LARGEST_ONEHOT = 256
"""Largest vocabulary for one-hot inputs. For larger vocabularies, an embedding of width H is faster."""
WARM_UP = 3
"""Number of iterations on a side stream before a capture, as PyTorch's documentation recommends."""


def prepare(work: Work) -> Callable[[], None]:
    """Return a function that runs one iteration of the benchmark."""
    torch: Any = import_module("torch")
    torch.manual_seed(1)
    if work.on_gpu:
        torch.cuda.set_device(device_of(torch, work))
        # By default, cuDNN rounds the operands to TF32, which has 10 mantissa bits instead of 23.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = TorchModel(torch, work)
    if work.engine == "pytorch-graph":
        unit = model.captured()
    else:
        unit = model.sample if work.kind.startswith("sample") else lambda: model.measure().item()
    return waiting(unit, torch.cuda.synchronize) if work.on_gpu else unit


def describe(work: Work) -> str:
    """Describe the library and hardware that the benchmark uses."""
    torch: Any = import_module("torch")
    if not work.on_gpu:
        return f"PyTorch {torch.__version__}"
    name = torch.cuda.get_device_name(device_of(torch, work))
    cudnn = torch.backends.cudnn.version()
    return f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, on {work.device}: {name}"


def device_of(torch: Any, work: Work) -> Any:
    """Return the PyTorch device for a benchmark, or the CPU for OpenCL, which PyTorch does not support."""
    return torch.device(work.device.replace("gpu", "cuda") if work.on_gpu else "cpu")


class TorchModel:
    """A PyTorch model with its optimiser and input.

    Scheduled sampling is not supported, because PyTorch's layers process entire chunks.
    """

    def __init__(self, torch: Any, work: Work) -> None:
        self.torch, self.work = torch, work
        config, nn = work.config(), torch.nn
        V, H = config.vocab_size, config.rnn_size
        device = device_of(torch, work)
        self.embedding = nn.Embedding(V, H).to(device) if V > LARGEST_ONEHOT else None
        layer = LAYERS[config.model]
        between = config.dropout if config.num_layers > 1 else 0.0
        inputs = V if self.embedding is None else H
        self.layers = getattr(nn, layer)(inputs, H, config.num_layers, dropout=between).to(device)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(H, V).to(device)
        modules = filter(None, (self.layers, self.readout, self.embedding))
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimiser: Any = None
        ids = torch.as_tensor(work.ids(), device=device)  # (T+1, B)
        self.inputs, self.targets = ids[:-1].contiguous(), ids[1:].contiguous()  # each (T, B)
        self.last = torch.zeros(work.streams, dtype=torch.long, device=device)  # (B,)
        self.state: Any = None  # before the next chunk: h and c of an LSTM, otherwise h
        cell = getattr(nn, f"{layer}Cell")
        self.cells = [cell(inputs if layer == 0 else H, H).to(device) for layer in range(config.num_layers)]
        self.states: list[Any] = [None] * config.num_layers
        if not work.trains:
            self.layers.eval()
            self.dropout.eval()

    def logits(self, ids: Any) -> Any:
        """Return the logits ``(T, B, V)`` for `ids` ``(T, B)``, continuing from the previous state."""
        h, state = self.layers(self.vectors(ids), self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return self.readout(self.dropout(h))

    def vectors(self, ids: Any) -> Any:
        """Return a one-hot vector or an embedding for each id."""
        if self.embedding is not None:
            return self.embedding(ids)
        return self.torch.nn.functional.one_hot(ids, self.work.vocab_size).to(self.readout.weight.dtype)

    def loss(self) -> Any:
        """Return the mean loss over the chunk."""
        logits = self.logits(self.inputs)  # (T, B, V)
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.targets.flatten())

    def measure(self) -> Any:
        """Train the model on the chunk, or evaluate it, and return the loss as a tensor on the device."""
        torch = self.torch
        if not self.work.trains:
            with torch.inference_mode():
                return self.loss()
        if self.optimiser is None:
            # In a CUDA graph, the optimiser must not read its step count on the host.
            graph = {"capturable": True} if self.work.engine == "pytorch-graph" else {}
            self.optimiser = torch.optim.RMSprop(self.parameters, lr=2e-3, alpha=0.95, foreach=True, **graph)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_value_(self.parameters, 5.0 / self.work.seq_length, foreach=True)
        self.optimiser.step()
        return loss

    def sample(self) -> None:
        """Generate `PIECE` characters per stream."""
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

    def captured(self) -> Callable[[], None]:
        """Capture an iteration as a CUDA graph, and return a function that replays it.

        Some versions of PyTorch and cuDNN cannot capture it, and raise an exception.
        """
        cuda = self.torch.cuda
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            step = self.static()
            for _ in range(WARM_UP):
                step()
        cuda.current_stream().wait_stream(stream)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph, stream=stream):
            loss = step()

        def unit() -> None:
            graph.replay()
            loss.item()

        return unit

    def static(self) -> Callable[[], Any]:
        """Return a function that runs an iteration with the state at a fixed address and returns its loss."""
        self.measure()  # allocates the state
        is_pair = isinstance(self.state, tuple)
        buffers: Any = tuple(s.clone() for s in self.state) if is_pair else self.state.clone()

        def step() -> Any:
            self.state = buffers
            loss = self.measure()
            pairs = zip(buffers, self.state, strict=True) if is_pair else [(buffers, self.state)]
            with self.torch.no_grad():
                for buffer, new in pairs:
                    buffer.copy_(new)  # after the backward pass, which needs the old state
            return loss

        return step
