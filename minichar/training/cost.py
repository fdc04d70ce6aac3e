"""Estimate how long a training step takes.

The time of a step on B streams of T characters, in seconds::

    t = e (A L T + B T (E L G H + F V)) + p (C P + D B T M)

The network has L layers of H units with G gates, V distinct characters and P weights, M of which are in
matrix products. The first term is the time for element-wise functions, including the time to call them. The
second is the time for matrix products and weight updates.

e and p are 1 on the nominal machine, one idle core of a recent processor. The constants were fitted to
the measured times of 31 combinations of sizes and cells. `Speed` holds their values for another machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from minichar.engine.config import Config

CALLS, UNIT, LOGIT = 23e-6, 5.1e-9, 2.1e-9
"""Seconds per layer and time step (A), per gate of a unit (E) and per logit (F)."""
UPDATE, PRODUCT = 20e-9, 5.1e-11
"""Seconds to update a weight (C), and to multiply by it in the forward and backward passes (D)."""
SELECTED = ("embedding.E", "layer1.Wx")
"""Weights from which a character selects a column, without a matrix product."""
NORMALISED = 5
"""Number of gates that take as long as layer normalisation."""


@dataclass(frozen=True)
class Speed:
    """The times on a machine, as multiples of those on the nominal machine."""

    elements: float = 1.0  # e in the module's equation
    products: float = 1.0  # p

    def step(self, config: Config, B: int, T: int) -> float:
        """Return the estimated time of a training step, in seconds."""
        elements, products = parts(config, B, T)
        return self.elements * elements + self.products * products


NOMINAL = Speed()


def parts(config: Config, B: int, T: int) -> tuple[float, float]:
    """Return the two terms of a training step's time on the nominal machine, in seconds."""
    gates = len({gate for product in config.cell.products for gate in product.gates})
    units = config.num_layers * (gates + NORMALISED * config.layer_norm) * config.rnn_size
    elements = CALLS * config.num_layers * T + B * T * (UNIT * units + LOGIT * config.vocab_size)
    sizes = {name: prod(shape) for name, shape in config.shapes().items()}
    multiplied = sum(size for name, size in sizes.items() if name not in SELECTED)
    return elements, UPDATE * sum(sizes.values()) + PRODUCT * multiplied * B * T


def speed_of(times: Sequence[tuple[Config, int, int, float]]) -> Speed:
    """Return the speed of a machine on which one or two steps were measured.

    Each of `times` contains a network, B, T and the time of a step in seconds.
    """
    terms = [parts(config, B, T) for config, B, T, _ in times]
    seconds = [each for *_, each in times]
    if len(times) == 2:
        elements, products = np.linalg.solve(terms, seconds)
        if min(elements, products) > 0:
            return Speed(float(elements), float(products))
    # With one step, or if the times do not fit the equation, because a GPU is not busy with either size.
    slowest = max(each / sum(term) for each, term in zip(seconds, terms, strict=True))
    return Speed(slowest, slowest)
