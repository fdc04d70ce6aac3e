"""Check a gradient along one direction, which takes a single complex forward pass at any size."""

import numpy as np

from minichar.engine.gradcheck import loss_of, relative_error


def directional_error(network, feed, targets, direction):
    """Return the relative error of ``v·∇f``, compared with ``Im f(θ + ihv) / h`` for the direction v."""
    network.loss_and_gradient(feed, targets)
    loss = loss_of(network, "complex128", targets)
    h = 1e-30
    to_host = network.parameters.backend.to_host
    slope = loss(to_host(network.parameters.flat) + 1j * h * direction).imag / h
    return relative_error(np.asarray(to_host(network.gradient.flat) @ direction), np.asarray(slope))
