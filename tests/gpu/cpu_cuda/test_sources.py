"""NVRTC compiles every kernel for each GPU without spilling registers to memory.

The kernels are those that the tests have compiled, so this file comes last.
"""

import json
import re

import pytest
from cupy_backends.cuda.libs import nvrtc

from minichar.devices.chunk_kernel import HOPPER

ARCHITECTURES = (70, 80, 90, 100, 120)
SPILL = re.compile(r"[1-9]\d* bytes spill")
WAYS = ("forward", "backward")
CELLS = {f"{name}_{way}" for name in ("lstm", "gru", "rnn", "layer_norm", "layer") for way in WAYS}
CLUSTERS = re.compile(r"-DC=[2-9]")
"""The option of a kernel that needs clusters of blocks."""

MANY_REGISTERS = """
extern "C" __global__ void many(double* p) {
    double a[99];
    for (int i = 0; i < 99; i++) a[i] = p[i];
    for (int k = 0; k < 9; k++)
        for (int i = 0; i < 99; i++) a[i] = a[i] * a[98 - i] + a[(i + 1) % 99];
    for (int i = 0; i < 99; i++) p[i] = a[i];
}
"""


def problem(kernel, architecture, folder, *options):
    """Return an error or a spill that NVRTC reports for a kernel, or "".

    The folder is for the precompiled headers.
    """
    program = nvrtc.createProgram(kernel["source"], "kernel.cu", (), ())
    options = (
        *kernel["options"],
        *options,
        f"-arch=sm_{architecture}",
        "--device-as-default-execution-space",
        "--ptxas-options=-v",
        "--pch",
        f"--pch-dir={folder}",
    )
    try:
        nvrtc.compileProgram(program, options)
        log = nvrtc.getProgramLog(program)
        spill = SPILL.search(log)
        assert "Used" in log  # the number of registers
        return f"{kernel['names']}: {spill[0]}" if spill else ""
    except nvrtc.NVRTCError:
        return f"{kernel['names']}: {nvrtc.getProgramLog(program)}"
    finally:
        nvrtc.destroyProgram(program)


@pytest.fixture
def kernels(cuda):
    return [json.loads(path.read_text()) for path in sorted(cuda.kernels.glob("sources/*.json"))]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_without_a_spill(architecture, kernels, tmp_path):
    assert {name for kernel in kernels for name in kernel["names"]} >= CELLS
    if architecture < 10 * HOPPER:
        kernels = [kernel for kernel in kernels if not any(map(CLUSTERS.match, kernel["options"]))]
    assert list(filter(None, (problem(kernel, architecture, tmp_path) for kernel in kernels))) == []


def test_a_spill_and_an_error_are_found(kernels, tmp_path):
    (*_, kernel) = (kernel for kernel in kernels if "layer_norm_backward" in kernel["names"])
    assert problem(kernel, 90, tmp_path) == ""
    source = kernel | {"source": MANY_REGISTERS}
    assert "spill" in problem(source, 90, tmp_path, "-maxrregcount=32")
    assert "error" in problem(kernel | {"source": MANY_REGISTERS.replace("many", "1")}, 90, tmp_path)
