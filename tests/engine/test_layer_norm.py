import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.layer_norm import EPSILON, LayerNorm

G, H, T, B = 2, 3, 2, 4


def test_a_worked_example(backend, host):
    """The values 1, 2 and 6 have mean 3 and variance (4 + 1 + 9) / 3 = 14/3."""
    norm = LayerNorm(3, 1, "float64", backend)
    (a_hat,) = norm.forward(0, [backend.to_device(np.array([[[1.0], [2.0], [6.0]]]))])
    np.testing.assert_allclose(
        host(a_hat)[0, :, 0], np.array([-2, -1, 3]) / np.sqrt(14 / 3 + EPSILON), rtol=1e-14
    )


def test_equal_pre_activations_become_zero():
    norm = LayerNorm(H, T, "float32", CPU)
    (a_hat,) = norm.forward(0, [np.full((G, H, B), 7.0, "float32")])
    assert not a_hat.any()
    da = np.ones((G, H, B), "float32")
    norm.backward(0, [da])
    assert np.isfinite(da).all()


def test_the_backward_pass_agrees_with_complex_steps_at_every_time_step(backend, host, generator):
    a, weights = generator.normal(size=(2, T, G, H, B))
    norm = LayerNorm(H, T, "float64", backend)
    for t in range(T):
        norm.forward(t, [backend.to_device(a[t])])
    check = LayerNorm(H, T, "complex128", CPU)
    for t in reversed(range(T)):
        expected = np.empty((G, H, B))
        for place in np.ndindex(G, H, B):
            moved = a[t].astype("complex128")
            moved[place] += 1e-30j
            expected[place] = (weights[t] * check.forward(t, [moved])[0]).sum().imag / 1e-30
        da = backend.to_device(weights[t])
        norm.backward(t, [da])
        np.testing.assert_allclose(host(da), expected, rtol=1e-12, atol=1e-14)
