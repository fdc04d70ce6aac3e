"""Tests for gradient clipping, RMSprop and weight decay."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minichar.engine.parameters import Parameters
from minichar.errors import MinicharError
from minichar.training.optimiser import RMSprop, clip_elements, clip_norm

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)
GRADIENTS = st.lists(NUMBERS, min_size=1, max_size=6).map(np.array)
LIMITS = st.floats(1e-3, 1e3)


@pytest.mark.parametrize(("clip", "expected"), [(clip_elements, [2.0, -2.0]), (clip_norm, [1.2, -1.6])])
def test_clipping_is_in_place_and_keeps_float32(clip, expected, backend, host):
    # ‖(3, -4)‖ = √(9 + 16) = 5;  (3, -4) · 2/5 = (1.2, -1.6)
    g = backend.to_device(np.array([3.0, -4.0], dtype="float32"))
    view = g[:]
    clip(backend.xp, g, 2.0)
    assert view.dtype == "float32"
    np.testing.assert_allclose(host(view), expected, rtol=1e-6)


@given(g=GRADIENTS, limit=LIMITS)
def test_the_norm_never_exceeds_the_limit_and_the_direction_is_kept(g, limit):
    result, norm = g.copy(), np.sqrt((g * g).sum())
    clip_norm(np, result, limit)
    assert np.linalg.norm(result) <= limit * (1 + 1e-12)
    if norm <= limit:
        np.testing.assert_array_equal(result, g)
    else:
        assert np.linalg.norm(result) == pytest.approx(limit, rel=1e-12)
        np.testing.assert_allclose(result * (norm / limit), g, rtol=1e-12, atol=1e-300)


@pytest.fixture
def parameters_of(backend):
    def parameters_of(values, dtype="float64"):
        parameters = Parameters({"W": (len(values),)}, dtype, backend)
        parameters.flat[...] = backend.to_device(np.array(values))
        return parameters

    return parameters_of


def test_a_negative_weight_decay_is_refused(parameters_of):
    with pytest.raises(MinicharError, match=r"^weight_decay is -1; it must be at least 0$"):
        RMSprop(parameters_of([1.0]), decay=0.75, weight_decay=-1)


@pytest.mark.parametrize(
    ("decay", "weight_decay", "rate_is"), [(0.0, 0.0, "a number"), (0.95, 0.3, "an array")]
)
def test_three_steps_agree_with_a_loop_over_elements(
    decay, weight_decay, rate_is, parameters_of, backend, host, generator
):
    # For gradients of about ε, it matters that ε is outside the root.
    start, gradients = generator.normal(size=5), generator.normal(size=(3, 5)) * [1, 1, 1e-4, 1e-8, 1e-9]
    rates = [0.1, 0.1, 0.01]
    parameters = parameters_of(start)
    optimiser = RMSprop(parameters, decay, weight_decay)
    on_device = backend.zeros((), "float64")
    for g, rate in zip(gradients, rates, strict=True):
        on_device[...] = rate
        given = backend.to_device(g)
        optimiser.step(given, rate if rate_is == "a number" else on_device)
        np.testing.assert_array_equal(host(given), g)

    for j in range(5):
        theta, m = start[j], 0.0
        for g, rate in zip(gradients[:, j], rates, strict=True):
            m = decay * m + (1 - decay) * g * g
            theta = theta * (1 - rate * weight_decay) - rate * g / (sqrt(m) + 1e-8)
        assert host(parameters["W"])[j] == pytest.approx(theta, rel=1e-12)
        assert host(optimiser.mean_square)[j] == pytest.approx(m, rel=1e-12)


def test_rmsprop_agrees_with_pytorch(generator):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    start = generator.normal(size=20)
    parameters = Parameters({"W": (20,)}, "float64")
    parameters.flat[...] = start
    theirs = torch.from_numpy(start.copy()).requires_grad_()
    their_optimiser = torch.optim.RMSprop([theirs], lr=2e-3, alpha=0.95, eps=1e-8)
    optimiser = RMSprop(parameters, decay=0.95)
    # Gradients of different magnitudes, some below ε.
    for scale in (1.0, 1e-4, 1e-8, 1e-9, 1.0):
        g = generator.normal(size=20) * scale
        optimiser.step(g, learning_rate=2e-3)
        theirs.grad = torch.from_numpy(g.copy())
        their_optimiser.step()
    np.testing.assert_allclose(parameters.flat, theirs.detach().numpy(), rtol=1e-12)
