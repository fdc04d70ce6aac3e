"""CuPy makes one kernel of layer normalisation, and kernels are named after the functions of cells."""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.layer import with_direct_gradient
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.registry import CELLS


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("H", [1, 6, 300, 700, 2500])
def test_one_kernel_normalises_the_units_of_all_products_and_sequences(H, dtype, gpu, cuda, generator):
    """A thread has one unit or several, and a block 8 sequences or fewer. dâ is not contiguous."""
    gates, B = (3, 1), 11
    a, da_hat = ([generator.normal(size=(G, H, B)).astype(dtype) for G in gates] for _ in range(2))
    norm, wanted = LayerNorm(H, 2, dtype, CPU), [one.copy() for one in da_hat]
    wanted_hat = norm.forward(1, a)
    norm.backward(1, wanted)
    on_gpu, there = LayerNorm(H, 2, dtype, gpu), [gpu.to_device(one) for one in a]
    das = [gpu.zeros_of_steps((2, G * H, B), dtype) for G in gates]
    for steps, one in zip(das, da_hat, strict=True):
        steps[1] = gpu.to_device(one.reshape(-1, B))
    cuda.operations()
    a_hat = on_gpu.forward(1, there)
    on_gpu.backward(1, [steps[1].reshape(-1, H, B) for steps in das])
    launched = cuda.operations()
    assert {kind: n for kind, n in launched.items() if kind.startswith(("kernel", "product"))} == {
        "kernel layer_norm_forward": 1,
        "kernel layer_norm_backward": 1,
    }
    close = {"rtol": 1e-11, "atol": 1e-13} if dtype != "float32" else {"rtol": 1e-4, "atol": 1e-5}
    for k, steps in enumerate(das):
        np.testing.assert_allclose(gpu.to_host(a_hat[k]), wanted_hat[k], **close)
        np.testing.assert_allclose(gpu.to_host(steps[1]), wanted[k].reshape(-1, B), **close)
        assert not gpu.to_host(steps[0]).any()


def test_a_kernel_that_adds_two_terms_of_dh_is_named_after_the_function_of_the_cell(gpu, cuda):
    """Profilers show the name of the kernel."""
    (stage,) = CELLS["gru"].stages
    backward = gpu.fuse(with_direct_gradient(stage.backward))
    one = gpu.zeros((3, 2), "float64") + 1.0
    cuda.operations()
    backward(one, one, (one,) * 5)
    assert [kind for kind in cuda.operations() if kind.startswith("kernel gru")] == ["kernel gru_backward"]
