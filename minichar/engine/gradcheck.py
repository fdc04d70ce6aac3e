"""Check gradients numerically with two methods that use only the forward pass.

Complex-step differentiation (Squire & Trapp 1998; Martins, Sturdza & Alonso 2003)::

    f(θ + ih) = f(θ) + ih f'(θ) + O(h²)      so      f'(θ) = Im f(θ + ih) / h + O(h²)

A complex step involves no subtraction, so no digits are lost to cancellation. With h = 1e-30, the O(h²) term
vanishes and only rounding errors remain, about 1e-16 relative to the largest entry of the gradient.

Central differences, the usual method::

    f'(θ) = (f(θ + h) - f(θ - h)) / 2h + O(h²)

If h is too small, digits are lost to cancellation; if it is too large, the truncation error dominates. The
smallest relative error is about 1e-9 for a network, at h near 1e-5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.devices.cpu import CPU, host_generator
from minichar.engine.config import Config, initialise
from minichar.engine.network import Feed, Network
from minichar.engine.parameters import Parameters

COMPLEX_LIMIT = 1e-12
CENTRAL_LIMIT = 1e-6
SMALL_CHUNK = 5, 3
"""T and B of the chunk that compares two devices."""

Loss = Callable[[np.ndarray], complex]
"""The loss as a function of θ ``(P,)``, a real or complex host array."""


@dataclass(frozen=True)
class Row:
    """The gradient-check result for one parameter.

    Each error is the largest difference between the hand-written and the numerical gradient, relative to the
    largest entry of the numerical gradient.
    """

    name: str
    shape: tuple[int, ...]
    complex_error: float
    central_error: float

    @property
    def passed(self) -> bool:
        """Whether the complex-step and central-difference errors are within their limits."""
        return self.complex_error <= COMPLEX_LIMIT and self.central_error <= CENTRAL_LIMIT


def complex_step(loss: Loss, theta: np.ndarray, h: float = 1e-30) -> np.ndarray:
    """Return the gradient of `loss` at the real vector `theta` ``(P,)``, one complex step per element."""
    gradient = np.zeros(theta.size)  # (P,)
    moved = theta.astype("complex128")  # (P,)
    for j in range(theta.size):
        moved[j] += 1j * h
        gradient[j] = loss(moved).imag / h
        moved[j] = theta[j]
    return gradient


def central_difference(loss: Loss, theta: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Return the gradient of `loss` at `theta` ``(P,)`` by central differences with step `h`."""
    gradient = np.zeros(theta.size)  # (P,)
    moved = theta.copy()  # (P,)
    for j in range(theta.size):
        moved[j] = theta[j] + h
        above = loss(moved)
        moved[j] = theta[j] - h
        gradient[j] = (above - loss(moved)).real / (2 * h)
        moved[j] = theta[j]
    return gradient


def relative_error(gradient: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest absolute difference, relative to the largest absolute entry of `reference`."""
    difference, largest = float(np.max(abs(gradient - reference))), float(np.max(abs(reference)))
    if difference == 0:
        return 0.0
    return difference / largest if largest else float("inf")


def toy_network(
    config: Config, T: int, B: int, generator: np.random.Generator, backend: Backend = CPU
) -> Network:
    """Return a float64 network with random weights, state and masks.

    The weights are large enough for every gate to affect the loss. All sizes should be distinct, because
    equal sizes can hide a transposed matrix.
    """
    parameters = Parameters(config.shapes(), "float64", backend)
    parameters.flat[...] = backend.to_device(generator.uniform(-0.7, 0.7, parameters.size))
    network = Network(config, parameters, T, B)
    network.state = backend.to_device(generator.uniform(-0.9, 0.9, config.state_shape(B)))
    network.draw_masks(backend.uniform(int(generator.integers(1 << 32))))
    return network


def loss_of(network: Network, dtype: str, targets: Array) -> Loss:
    """Return the loss of a chunk as a function of θ, with the state, masks and inputs held fixed.

    With scheduled sampling, the input characters must be held fixed because the gradient does not flow
    through the choice of characters.
    """
    parameters = network.parameters.twin(dtype)
    backend = parameters.backend
    twin = Network(network.config, parameters, network.T, network.B)
    twin.state = network.state
    twin.masks, twin.state_mask = network.masks, network.state_mask
    for mine, other in zip(twin.recurrent, network.recurrent, strict=True):
        mine.use_mask(other.mask)
    feed = network.fed.copy()

    def loss(theta: Array) -> complex:
        parameters.flat[...] = backend.to_device(theta)
        return complex(backend.to_host(twin.measure(feed, targets)))

    return loss


def check_network(network: Network, feed: Feed, targets: Array) -> list[Row]:
    """Check the gradient of every parameter of a float64 network, element by element.

    Parameters
    ----------
    network : Network
        The network to check. Its current state, resets, and dropout and DropConnect masks are used.
    feed : Feed
        Source of the T input characters.
    targets : array of int, (T, B)

    Returns
    -------
    list of Row, one per parameter
    """
    network.loss_and_gradient(feed, targets)
    to_host, shapes = network.parameters.backend.to_host, network.parameters.shapes
    theta, by_hand = to_host(network.parameters.flat), Parameters(shapes, "float64")
    by_complex, by_central = by_hand.twin(), by_hand.twin()
    by_hand.flat[...] = to_host(network.gradient.flat)
    by_complex.flat[...] = complex_step(loss_of(network, "complex128", targets), theta)
    by_central.flat[...] = central_difference(loss_of(network, "float64", targets), theta)
    return [
        Row(name, shape, relative_error(g, by_complex[name]), relative_error(g, by_central[name]))
        for (name, g), shape in zip(by_hand.items(), shapes.values(), strict=True)
    ]


def disagreement(config: Config, dtype: str, device: Backend) -> float:
    """Return the relative error of the loss and the gradient of one small chunk on a device.

    The reference is the CPU. The network has its initial weights, and no masks. The error is the larger one
    of the two, and NaN if either is.
    """

    def results(backend: Backend) -> tuple[np.ndarray, np.ndarray]:
        parameters = Parameters(config.shapes(), dtype, backend)
        initialise(config, parameters, host_generator(0))
        ids = host_generator(1).integers(config.vocab_size, size=(2, *SMALL_CHUNK))
        network = Network(config, parameters, *SMALL_CHUNK)
        loss = network.loss_and_gradient(*backend.to_device(ids))
        return backend.to_host(loss), backend.to_host(network.gradient.flat)

    pairs = zip(results(device), results(CPU), strict=True)
    return float(np.max([relative_error(found, wanted) for found, wanted in pairs]))
