import numpy as np
import pytest

from minichar.engine.linear import CharacterLinear, Linear

# H hidden units, D inputs, and two gates with H rows each.
T, B, V, H, D = 5, 2, 8, 3, 4
G = 2 * H


@pytest.fixture
def linear(backend, generator):
    """Return a function that creates a `Linear` with random weights and nonzero initial gradients."""

    def make(reads_h=True, reads_x=True, reads_ids=False):
        K = H * reads_h + D * reads_x
        W, Wx = generator.normal(size=(G, K + 1)), generator.normal(size=(G, V))
        arrays = [backend.to_device(array) for array in (W, np.full_like(W, 7.0), Wx, np.full_like(Wx, 7.0))]
        W, dW, Wx, dWx = arrays
        arguments = W, dW, 2, H * reads_h, T, B, backend
        return CharacterLinear(Wx, dWx, *arguments) if reads_ids else Linear(*arguments)

    return make


@pytest.fixture
def text(backend, generator):
    """Return ``(h, x, ids)``: states, inputs and characters for T steps."""
    h, x = generator.normal(size=(T, H, B)), generator.normal(size=(T, D, B))
    return h, x, generator.integers(V, size=(T, B))


PARTS = {
    "state and inputs": {},
    "the state alone": {"reads_x": False},
    "inputs alone": {"reads_h": False},
    "state and characters": {"reads_x": False, "reads_ids": True},
    "characters alone": {"reads_h": False, "reads_x": False, "reads_ids": True},
}


@pytest.mark.parametrize("reads", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(("n", "divided"), [(T, False), (2, True)])
def test_the_matrix_product_and_its_gradients(reads, n, divided, linear, text, backend, host, generator):
    """Check the equations in ``linear.py`` for a full chunk and for the first `n` steps of a chunk."""
    layer, (h, x, ids) = linear(**reads), text
    W = host(layer.W)
    parts = [part for part, read in ((h, layer.reads_h), (x, layer.reads_x)) if read]
    s = np.concatenate([*parts, np.ones((T, 1, B))], axis=1)  # (T, K+1, B)
    a = W @ s
    reads_ids = isinstance(layer, CharacterLinear)
    if reads_ids:
        a += host(layer.Wx)[:, ids].transpose(1, 0, 2)
    da = generator.normal(size=(T, G, B))
    inputs = ids if reads_ids else x
    layer.read(slice(0, 2), backend.to_device(inputs[:2]))
    layer.read(slice(2, T), backend.to_device(inputs[2:]))
    for t in range(T):
        if layer.reads_h:
            layer.h[t] = backend.to_device(h[t])
        result = host(layer.step(t))
        assert result.shape == (2, H, B)
        np.testing.assert_allclose(result.reshape(G, B), a[t], rtol=1e-12, atol=1e-14)
        layer.da[t] = backend.to_device(da[t])
        if layer.reads_h:
            wanted, dh, keep = W[:, :H].T @ da[t], backend.to_device(h[t].copy()), generator.random(B).round()
            np.testing.assert_allclose(host(layer.state_gradient(t)), wanted, rtol=1e-12, atol=1e-14)
            layer.add_state_gradient(t, dh)
            layer.add_state_gradient(t, dh, backend.to_device(keep))
            np.testing.assert_allclose(host(dh), h[t] + (1 + keep) * wanted, rtol=1e-12, atol=1e-14)

    for steps in (slice(1, n), slice(0, 1)) if divided else (slice(0, n),):
        layer.gradients(steps, n, backend.to_device(ids[:n]))
    if layer.reads_x:
        dx = host(layer.dx)[:n]  # (n, D, B)
        np.testing.assert_allclose(dx, W[:, -1 - D : -1].T @ da[:n], rtol=1e-12, atol=1e-14)
    dW = sum(np.outer(da[t, :, b], s[t, :, b]) for t in range(n) for b in range(B))
    np.testing.assert_allclose(host(layer.dW), dW, rtol=1e-12, atol=1e-14)
    if reads_ids:
        dWx = sum(np.outer(da[t, :, b], np.eye(V)[ids[t, b]]) for t in range(n) for b in range(B))
        np.testing.assert_allclose(host(layer.dWx), dWx, rtol=1e-12, atol=1e-14)


def test_memory_for_the_backward_pass_is_not_allocated_by_the_forward_pass(linear):
    layer = linear()
    layer.step(0)
    assert "da" not in vars(layer)


def test_the_result_of_a_step_is_not_overwritten_by_the_next_step(linear, text, backend, host):
    """Cells may cache the result of a step for the backward pass."""
    layer, (h, _, ids) = linear(reads_x=False, reads_ids=True), text
    layer.h[:] = backend.to_device(h)
    layer.read(slice(0, 2), backend.to_device(ids[:2]))
    first = layer.step(0)
    kept = host(first).copy()
    layer.step(1)
    np.testing.assert_array_equal(host(first), kept)
