"""The checks of ``first_hour.py`` pass, in both orders of the streams, and find errors that only CUDA has."""

import inspect
import re
import sys
import textwrap

import gpu_checks
import numpy as np
import pytest
from bench_work import Work
from cupy.cuda.runtime import CUDARuntimeError

from minichar.devices.cpu import CPU
from minichar.devices.cublas import Products
from minichar.devices.cupy import CuPyBackend
from minichar.devices.graph import CudaGraph

WORK = Work(rnn_size=16, seq_length=8, batch_size=6, device="gpu", vocab_size=20)
STEPS = 50


def test_gradients_in_complex128(gpu):
    found = gpu_checks.gradients(gpu)
    assert found["passed"]
    assert max(found["errors"].values()) < 1e-12


@pytest.mark.usefixtures("order")
def test_losses_of_every_cell_with_every_option(gpu):
    found = gpu_checks.losses(gpu, WORK, STEPS)
    assert found["passed"]
    assert len(found["largest difference"]) == 16
    assert max(found["largest difference"].values()) < 1e-6


@pytest.mark.usefixtures("order")
def test_steps_are_captured(gpu):
    assert gpu_checks.graphs(gpu, WORK)["passed"]


@pytest.mark.usefixtures("order")
def test_sampling_with_every_option(gpu):
    found = gpu_checks.sampling(gpu, WORK)
    assert found["passed"], found


@pytest.mark.usefixtures("order")
def test_a_resumed_run_is_the_same_bit_for_bit(gpu):
    found = gpu_checks.resuming(gpu, WORK, 20)
    assert found == {"passed": True, "bit for bit": True, "steps": (10, 20)}


@pytest.mark.parametrize("used", [True, False])
def test_the_chunk_kernel(used, gpu, monkeypatch):
    """The check fails if the kernel is never used."""
    if not used:
        monkeypatch.setattr(gpu, "chunk_kernel", lambda *layer: None)
    found = gpu_checks.chunk_kernel(gpu, WORK, 10)
    assert found["passed"] == used
    assert len(found["without a kernel"]) == (0 if used else 9)
    assert max(found["largest relative difference"].values()) < 1e-5
    assert not gpu.uses_chunk_kernel


def without(line, method):
    """Return a method without one line."""
    source = textwrap.dedent(inspect.getsource(method))
    assert line in source
    scope = dict(vars(sys.modules[method.__module__]))
    exec(source.replace(line, "pass"), scope)
    return scope[method.__name__]


BEGIN, END = "self.stream.wait_event(self.begin)", "current.wait_event(self.end)"
BEFORE, AFTER = "stream.wait_event(before)", "caller.wait_event(before)"
FAULTS = {
    "the step does not wait for the caller": (CudaGraph, "__call__", without(BEGIN, CudaGraph.__call__)),
    "the caller does not wait for the step": (CudaGraph, "__call__", without(END, CudaGraph.__call__)),
    "temporary arrays are in the default pool": (CudaGraph, "_run", lambda self, malloc: self.step()),
    "a lane does not wait for the one before": (
        CuPyBackend,
        "run_lanes",
        without(BEFORE, CuPyBackend.run_lanes),
    ),
    "nothing waits for the last lane": (CuPyBackend, "run_lanes", without(AFTER, CuPyBackend.run_lanes)),
    "products are on another stream": (Products, "use_current_stream", lambda self: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_memory_or_order_is_found(fault, cuda, gpu, monkeypatch):
    owner, name, wrong = FAULTS[fault]
    wanted, _ = gpu_checks.training_losses(CPU, WORK, 8)
    differences = []
    for early in (0, 1):
        cuda.set(early=early)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, wrong)
            gpu.products.stream = None
            try:
                found, step = gpu_checks.training_losses(gpu, WORK, 8)
            except (CUDARuntimeError, RuntimeWarning) as error:
                differences.append(str(error))
            else:
                captured = gpu_checks.is_captured(step.parts[0])
                differences.append(np.abs(found - wanted).max() if captured else np.inf)
    assert any(isinstance(one, str) or not one <= gpu_checks.LIMIT for one in differences)  # NaN is an error
    known = re.compile("cudaError(IllegalAddress|StreamCaptureIsolation|StreamCaptureUnjoined)")
    assert all(known.search(one) for one in differences if isinstance(one, str))
