from math import sqrt

import numpy as np
import pytest

from minichar.engine.parameters import Parameters
from minichar.training.optimiser import EPSILON, RMSprop


@pytest.fixture
def parameters_of(backend):
    def parameters_of(values, dtype="float64"):
        parameters = Parameters({"W": (len(values),)}, dtype, backend)
        parameters.flat[...] = backend.to_device(np.array(values))
        return parameters

    return parameters_of


def test_the_first_step_worked_by_hand(parameters_of, backend, host):
    parameters = parameters_of([1.0, -1.0])
    optimiser = RMSprop(parameters, decay=0.75)
    optimiser.step(backend.to_device(np.array([2.0, -4.0])), learning_rate=0.1)
    # m = 0.75 · 0 + 0.25 · g²         = 0.25 · 4, 0.25 · 16 = 1, 4
    # θ = θ - 0.1 · g / (√m + 1e-8)    = 1 - 0.1 · 2/1, -1 + 0.1 · 4/2 = 0.8, -0.8
    np.testing.assert_array_equal(host(optimiser.mean_square), [1.0, 4.0])
    np.testing.assert_allclose(host(parameters["W"]), [0.8, -0.8], rtol=1e-7)


def test_epsilon_is_one_in_a_hundred_million_and_stands_outside_the_root(parameters_of, backend, host):
    assert EPSILON == 1e-8
    parameters = parameters_of([0.0])
    optimiser = RMSprop(parameters, decay=0.75)
    optimiser.step(backend.to_device(np.array([2e-8])), learning_rate=1.0)
    # √m = √(0.25 · 4e-16) = 1e-8, so θ = -2e-8 / (1e-8 + 1e-8) = -1. Inside the root ε would make it -2e-4.
    np.testing.assert_allclose(host(parameters["W"]), [-1.0], rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.95])
@pytest.mark.parametrize("rate_lies", ["on the host", "on the device"])
def test_three_steps_agree_with_a_loop_over_scalars(
    decay, rate_lies, parameters_of, backend, host, generator
):
    start, gradients = generator.normal(size=5), generator.normal(size=(3, 5))
    rates = [0.1, 0.1, 0.01]
    parameters = parameters_of(start)
    optimiser = RMSprop(parameters, decay)
    on_device = backend.zeros((), "float64")
    for g, rate in zip(gradients, rates, strict=True):
        on_device[...] = rate
        optimiser.step(backend.to_device(g), rate if rate_lies == "on the host" else on_device)

    for j in range(5):
        theta, m = start[j], 0.0
        for g, rate in zip(gradients[:, j], rates, strict=True):
            m = decay * m + (1 - decay) * g * g
            theta = theta - rate * g / (sqrt(m) + 1e-8)
        assert host(parameters["W"])[j] == pytest.approx(theta, rel=1e-12)
        assert host(optimiser.mean_square)[j] == pytest.approx(m, rel=1e-12)


def test_no_gradient_no_step(parameters_of, backend, host):
    parameters = parameters_of([1.0, 2.0])
    RMSprop(parameters, decay=0.95).step(backend.zeros((2,), "float64"), learning_rate=0.1)
    np.testing.assert_array_equal(host(parameters["W"]), [1.0, 2.0])


def test_the_gradient_is_left_as_it_is_and_float32_stays(parameters_of, backend, host, generator):
    parameters = parameters_of(generator.normal(size=4), "float32")
    kept = generator.normal(size=4).astype("float32")
    g = backend.to_device(kept.copy())
    optimiser = RMSprop(parameters, decay=0.95)
    optimiser.step(g, learning_rate=0.1)
    np.testing.assert_array_equal(host(g), kept)
    assert parameters.dtype == optimiser.mean_square.dtype == "float32"


def test_it_agrees_with_pytorch(generator):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs it installed")
    start = generator.normal(size=20)
    parameters = Parameters({"W": (20,)}, "float64")
    parameters.flat[...] = start
    theirs = torch.from_numpy(start.copy()).requires_grad_()
    their_optimiser = torch.optim.RMSprop([theirs], lr=2e-3, alpha=0.95, eps=1e-8)
    optimiser = RMSprop(parameters, decay=0.95)
    # Gradients of all sizes, some of which ε outweighs.
    for scale in (1.0, 1e-4, 1e-8, 1e-9, 1.0):
        g = generator.normal(size=20) * scale
        optimiser.step(g, learning_rate=2e-3)
        theirs.grad = torch.from_numpy(g.copy())
        their_optimiser.step()
    np.testing.assert_allclose(parameters.flat, theirs.detach().numpy(), rtol=1e-12)
