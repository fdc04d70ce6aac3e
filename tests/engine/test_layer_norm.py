import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.layer_norm import EPSILON, LayerNorm


def test_a_worked_example(backend, host):
    """The values 1, 2 and 6 have mean 3 and variance (4 + 1 + 9) / 3 = 14/3."""
    norm = LayerNorm(3, 1, "float64", backend)
    (a_hat,) = norm.forward(0, [backend.to_device(np.array([[[1.0], [2.0], [6.0]]]))])
    np.testing.assert_allclose(
        host(a_hat)[0, :, 0], np.array([-2, -1, 3]) / np.sqrt(14 / 3 + EPSILON), rtol=1e-14
    )


def test_equal_pre_activations_become_zero():
    norm = LayerNorm(3, 1, "float32", CPU)
    (a_hat,) = norm.forward(0, [np.full((2, 3, 4), 7.0, "float32")])  # (gates, H, B)
    assert not a_hat.any()
    da = np.ones((2, 3, 4), "float32")
    norm.backward(0, [da])
    assert np.isfinite(da).all()
