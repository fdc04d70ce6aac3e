import numpy as np
import pytest

from minichar.engine.readout import loss_backward, loss_forward

V, N = 8, 10


@pytest.fixture
def both(backend):
    """Return a function that runs `loss` on the device but takes and returns host arrays."""

    def run(logits, targets):
        there = [backend.to_device(array) for array in (logits.copy(), targets, np.arange(N))]
        value, cache = loss_forward(backend.xp, *there[:2], N, there[2])
        return float(backend.to_host(value)), backend.to_host(loss_backward(backend.xp, cache))

    return run


def test_the_loss_is_the_mean_negative_log_softmax_and_its_gradient_is_p_minus_onehot(both, generator):
    logits, targets = generator.normal(size=(V, N)), generator.integers(V, size=N)
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    value, dlogits = both(logits, targets)
    assert value == pytest.approx(-np.mean([np.log(p[k, j]) for j, k in enumerate(targets)]), rel=1e-13)
    np.testing.assert_allclose(dlogits, (p - np.eye(V)[targets].T) / N, rtol=1e-13)


def test_targets_may_be_small_integers_and_logits_transposed(generator):
    logits, targets = generator.normal(size=(N, 99)).T, generator.integers(V, size=N)  # (99, N)
    results = []
    for logits_, dtype in ((logits, "uint8"), (logits.copy(), "int64")):
        own, given = logits_.copy(order="K"), targets.astype(dtype)
        value, cache = loss_forward(np, own, given, N)
        results.append((value, loss_backward(np, cache)))
        assert results[-1][1] is own  # overwritten to save memory
        np.testing.assert_array_equal(given, targets)
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-14)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_do_not_overflow(dtype, both):
    logits = np.zeros((V, N), dtype)
    logits[0], logits[1] = 1e4, -1e4  # p(0) = 1
    for target, nats in ((0, 0.0), (1, 2e4), (2, 1e4)):
        value, dlogits = both(logits, np.full(N, target))
        assert value == nats
        assert dlogits.dtype == dtype
        assert np.isfinite(dlogits).all()
