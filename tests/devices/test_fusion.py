"""What CuPy itself makes of the cells' element-wise functions, which needs no GPU to see.

`cupy.fuse` follows a function once and writes the source of one kernel. Here the real one
does so, without launching anything, and the source is read line by line with NumPy's numbers:
it must write what the same function writes on the CPU.
"""

import re

import numpy as np
import pytest

from minichar.engine import functions, gru, gru_before, lstm, rnn

cupy = pytest.importorskip("cupy", reason="needs CuPy: cupy-cuda12x")
fusion = pytest.importorskip("cupy._core.fusion", reason="this CuPy fuses in another way")

FUSED = {
    "rnn backward": (rnn.elementwise_backward, 3),
    "sigmoid": (functions.sigmoid, 2),
    "sigmoid slope": (functions.sigmoid_slope, 2),
    "lstm": (lstm.elementwise, 9),
    "lstm backward": (lstm.elementwise_backward, 13),
    "gru": (gru.elementwise, 9),
    "gru backward": (gru.elementwise_backward, 13),
    "gru-before gates": (gru_before.gates, 4),
    "gru-before blend": (gru_before.candidate_and_blend, 4),
    "gru-before blend backward": (gru.blend_backward, 7),
    "gru-before reset backward": (gru_before.reset_backward, 6),
}

CONSTANT = re.compile(r"const \w+ (v\d+) = (\S+);")
DECLARATION = re.compile(r"(\w+ v\d+(_\d+)?;\s*)+")
CAST = re.compile(r"(v[\d_]+) = static_cast< (\w+) >\((v[\d_]+)\);")
CALL = re.compile(r"cupy_(\w+)\((.*), (v[\d_]+)\);")
DTYPES = {"float": "float32", "double": "float64"}


def array_without_memory(shape, dtype):
    """Return an array of CuPy's whose memory nobody ever touches."""
    memory = cupy.cuda.UnownedMemory(1 << 20, 1 << 20, None, 0)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))


def kernel_of(function, n, shape, dtype):
    """Return the kernel that CuPy makes of ``function(xp, *n arrays)``."""
    state = fusion._thread_local
    state.history, state.is_old_fusing = fusion._FusionHistory(), True
    try:
        arrays = [array_without_memory(shape, dtype) for _ in range(n)]
        kernel, _ = state.history.get_fusion(lambda *arrays: function(cupy, *arrays), arrays, "fused")
    finally:
        state.history, state.is_old_fusing = None, False
    return kernel


def run(source, arrays):
    """Run the lines of a kernel; `arrays` are its parameters v0, v1, … and are written to."""
    values = {f"v{i}": array.copy() for i, array in enumerate(arrays)}
    lines = [line for line in source.splitlines() if line and not line.startswith("//")]
    for line in lines:
        if match := CONSTANT.fullmatch(line):
            values[match[1]] = float(match[2])
        elif match := CAST.fullmatch(line):
            values[match[1]] = np.asarray(values[match[3]]).astype(DTYPES[match[2]])
        elif match := CALL.fullmatch(line):
            inputs = [values[name] for name in match[2].split(", ")]
            values[match[3]] = getattr(np, match[1])(*inputs)
        else:
            assert DECLARATION.fullmatch(line), line
    for i, array in enumerate(arrays):
        array[...] = values[f"v{i}"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUSED)
def test_the_kernel_writes_what_numpy_writes(name, dtype, generator):
    function, n = FUSED[name]
    kernel = kernel_of(function, n, (3, 2), dtype)
    here = [generator.uniform(-0.9, 0.9, (3, 2)).astype(dtype) for _ in range(n)]
    there, before = [array.copy() for array in here], [array.copy() for array in here]
    function(np, *here)
    run(kernel.operation, there)
    for i, (one, other) in enumerate(zip(here, there, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=f"argument {i}")
    written = [not (one == other).all() for one, other in zip(here, before, strict=True)]
    assert [not parameter.is_const for parameter in kernel.in_params] == written
    assert kernel.nout == 0  # nothing is allocated


def test_every_fused_function_is_here(cell):
    """Nothing of the cells goes through `Backend.elementwise` without being looked at."""
    from minichar.devices.backend import Backend
    from minichar.engine.config import Config
    from minichar.engine.gradcheck import toy_network

    seen = set()

    class Noting(Backend):
        def elementwise(self, function):
            seen.add(function)
            return super().elementwise(function)

    toy_network(Config(3, **cell, rnn_size=2), 2, 1, np.random.default_rng(1), Noting())
    assert seen
    assert seen <= {function for function, _ in FUSED.values()}
