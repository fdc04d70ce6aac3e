"""The chunk kernel: a recurrent layer over all steps of a chunk in one CUDA kernel (docs/chunk-kernel.md).

The CUDA C is in the directory ``kernels``: ``layer.cu``, and one file for each cell in `KERNELS`. It computes
what the cell's functions in `minichar.engine` compute.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from minichar.devices.backend import Array, Backend

FOLDER = Path(__file__).parent / "kernels"
CLUSTERS = {64: 1, 128: 1, 256: 4}
"""For each number of hidden units that the kernel supports, the number of blocks that share one sequence."""
HOPPER = 9
"""Major compute capability. Older GPUs do not support clusters of blocks."""
THREADS = 512
"""Largest number of threads per block. With more, a thread would have fewer than 128 registers."""
NEAR = 84
"""Largest number of weights that a thread keeps in registers. With more, other values would not fit."""
MAJOR_CAPABILITY, SHARED_LIMIT = 75, 97
"""``cudaDevAttrComputeCapabilityMajor`` and ``cudaDevAttrMaxSharedMemoryPerBlockOptin``."""


@dataclass(frozen=True)
class Counts:
    """How many values a cell (`minichar.engine.cell.Cell`) has per unit and sequence."""

    gates: int
    states: int
    products: int
    cache: tuple[str, ...]  # what the backward pass needs besides the states before the step


# A GRU that applies the reset gate before the matrix product has no kernel: its second product depends on the
# first, but a step of layer.cu has only one product.
KERNELS = {
    "lstm": Counts(gates=4, states=2, products=1, cache=("i", "f", "o", "g", "tanh_c")),
    "gru": Counts(gates=3, states=1, products=2, cache=("r", "z", "n", "u_n")),
    "rnn": Counts(gates=1, states=1, products=1, cache=("h",)),
}
"""The cells that have a kernel, by name."""
MOST = 5
"""Largest number of gates or cached values of these cells."""


@dataclass(frozen=True)
class Shape:
    """The constants that ``layer.cu`` is compiled with, for a cell with H units."""

    cell: str
    H: int

    @property
    def counts(self) -> Counts:
        """The counts for the cell."""
        return KERNELS[self.cell]

    @property
    def C(self) -> int:
        """The number of blocks per sequence."""
        return CLUSTERS[self.H]

    @property
    def threads(self) -> int:
        """The number of threads per block: a multiple of 128 per gate, to divide the weights evenly."""
        group = 128 * self.counts.gates
        return THREADS // group * group

    @property
    def shared(self) -> int:
        """The size in bytes of the shared memory of a block, which is largest in the backward pass."""
        own = self.H * self.counts.gates * self.H // self.C // self.threads  # weights of a thread
        far = max(own - NEAR, 1)
        return 4 * (2 * self.counts.gates * self.H + self.threads + far * self.threads)

    def options(self) -> tuple[str, ...]:
        """Return the compiler options that define the constants."""
        constants = {
            "H": self.H,
            "C": self.C,
            "GATES": self.counts.gates,
            "STATES": self.counts.states,
            "PRODUCTS": self.counts.products,
            "CACHED": len(self.counts.cache),
            "THREADS": self.threads,
            "NEAR_LIMIT": NEAR,
            "SHARED": self.shared,
        }
        return "--std=c++17", *(f"-D{name}={value}" for name, value in constants.items())


def has_kernel(xp: ModuleType, index: int, cell: str, H: int) -> bool:
    """Return whether a cell with H units has a kernel, and whether GPU `index` supports it."""
    if cell not in KERNELS or H not in CLUSTERS:
        return False
    attribute, shape = xp.cuda.runtime.deviceGetAttribute, Shape(cell, H)
    has_clusters = attribute(MAJOR_CAPABILITY, index) >= HOPPER
    return attribute(SHARED_LIMIT, index) >= shape.shared and (shape.C == 1 or has_clusters)


def unused_note(backend: Backend) -> str:
    """Return a note for a run that requests the chunk kernel without meeting its conditions."""
    return (
        f"the chunk kernel is not used on device {backend.name}: it requires an NVIDIA GPU, float32, one of "
        f"the cells {', '.join(KERNELS)}, one of the sizes {', '.join(map(str, CLUSTERS))}, "
        "and no layer normalisation, scheduled sampling or state resets within the text"
    )


def source(cell: str) -> str:
    """Return the CUDA C of the kernels for a cell."""
    return "\n".join((FOLDER / f"{name}.cu").read_text("utf-8") for name in ("functions", cell, "layer"))


@cache
def compiled(xp: ModuleType, index: int, shape: Shape) -> dict[str, Array]:
    """Return the compiled kernels for GPU `index`, which must be the current device."""
    module = xp.RawModule(code=source(shape.cell), options=shape.options())
    kernels = {name: module.get_function(f"layer_{name}") for name in ("forward", "backward")}
    for kernel in kernels.values():
        kernel.max_dynamic_shared_size_bytes = shape.shared
    return kernels


class ChunkKernel:
    """The kernels of one layer, and the arrays that they pass to each other.

    Parameters
    ----------
    xp : module
        CuPy.
    index : int
        Number of the current GPU.
    shape : Shape
    T, B : int
        Maximum number of time steps in a chunk, and number of sequences.

    Attributes
    ----------
    states : array, (T+1, S, H, B)
        The states before each step, with the hidden state first. Those before the first step must be set
        before `forward` is called.
    cache : array, (T, CACHED, H, B)
        The values of `Counts.cache` at each step.
    dstate : array, (H, B)
        Gradient with respect to the cell state of an LSTM, or the direct gradient with respect to the hidden
        state of a GRU, after the steps of `backward`. `backward` replaces it with the gradient before them.
    """

    def __init__(self, xp: ModuleType, index: int, shape: Shape, T: int, B: int) -> None:
        self.kernels, self.shape, self.B = compiled(xp, index, shape), shape, B
        H, counts = shape.H, shape.counts
        self.states = xp.zeros((T + 1, counts.states, H, B), "float32")
        self.cache = xp.zeros((T, len(counts.cache), H, B), "float32")
        self.dstate = xp.zeros((H, B), "float32")

    def forward(self, W: Array, share: int, a: Array) -> None:
        """Compute `states` and `cache` for n steps.

        Parameters
        ----------
        W : array, (gates · H, K+1)
            The weights that multiply h, in the first H columns, and the bias, in the last one.
        share : int
            Number of columns of W not yet applied in `a`: H if `a` includes the bias, otherwise more.
        a : array, (n, gates · H, B)
            The part of the pre-activations that does not depend on h, from `Backend.zeros_of_steps`.
        """
        end = (self.states, self.cache, len(a), self.B)
        self._launch("forward", W, W.shape[1], share, a, distance(a), *end)

    def backward(self, W: Array, dh_above: Array, du: Array, da: Array) -> None:
        """Compute the gradients of the pre-activations for n steps.

        Parameters
        ----------
        W : array, (gates · H, K+1)
        dh_above : array, (n, H, B)
            Gradient with respect to h at each step, excluding contributions from later steps.
        du, da : array, (n, gates · H, B)
            The results: gradients of the product with h and of the cell's other product, if any.
            These and `dh_above` are from `Backend.zeros_of_steps`, with the same T.
        """
        arrays = dh_above, self.dstate, self.states, self.cache, du, da
        self._launch("backward", W, W.shape[1], *arrays, distance(da), len(da), self.B)

    def _launch(self, name: str, *arguments: Array | int) -> None:
        """Launch a kernel with arrays and int32 numbers."""
        values = tuple(np.int32(value) if isinstance(value, int) else value for value in arguments)
        shape = self.shape
        self.kernels[name]((shape.C * self.B,), (shape.threads,), values, shared_mem=shape.shared)


def distance(array: Array) -> int:
    """Return the distance in elements between the rows of an array ``(n, K, B)`` with adjacent steps."""
    step, row, column = (stride // array.itemsize for stride in array.strides)
    if (step, column) != (array.shape[2], 1):
        raise ValueError(f"the steps of a row are not adjacent: strides {array.strides}")
    return int(row)
