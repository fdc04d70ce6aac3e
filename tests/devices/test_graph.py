"""Tests for `Backend.recorded`, which returns a CUDA graph on a GPU and a plain function elsewhere."""

import numpy as np

from minichar.devices.graph import WARM_UP


def test_a_step_runs_at_each_call_and_only_a_gpu_records_it(backend, host):
    one, total, calls = backend.to_device(np.ones(3)), backend.zeros((3,), "float64"), []

    def step():
        calls.append(None)
        total[...] = total + one

    run = backend.recorded(step)
    for n in range(1, 7):
        run()
        np.testing.assert_array_equal(host(total), [n] * 3)
    one[...] = 10.0  # the step must read the new value
    run(2)
    np.testing.assert_array_equal(host(total), [26] * 3)
    assert len(calls) == (WARM_UP + 1 if backend.kind == "gpu" else 8)
