"""Run a PyTorch benchmark as a CUDA graph, so that a single launch runs all kernels of an iteration."""

from collections.abc import Callable
from typing import Any

WARM_UP = 3
"""Number of iterations on a side stream before the capture, as PyTorch's documentation recommends."""


def capture(torch: Any, model: Any) -> Callable[[], None]:
    """Capture one iteration as a CUDA graph and return a function that replays it.

    Parameters
    ----------
    torch : module
    model : TorchModel

    Raises
    ------
    Exception
        If this version of PyTorch or cuDNN cannot capture the iteration.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step = static(torch, model)
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        loss = step()

    def unit() -> None:
        graph.replay()
        loss.item()

    return unit


def static(torch: Any, model: Any) -> Callable[[], Any]:
    """Return a function that runs one iteration and returns its loss.

    The state is stored in fixed buffers, because a CUDA graph uses the same memory addresses on each replay.
    """
    run = model.learn if model.work.trains else model.read
    run()  # allocates the state
    state = model.state
    buffers = tuple(s.clone() for s in state) if isinstance(state, tuple) else state.clone()

    def step() -> Any:
        model.state = buffers
        loss = run()
        pairs = (
            zip(buffers, model.state, strict=True) if isinstance(buffers, tuple) else [(buffers, model.state)]
        )
        with torch.no_grad():
            for buffer, new in pairs:
                buffer.copy_(new)  # after the backward pass, which needs the old state
        return loss

    return step
