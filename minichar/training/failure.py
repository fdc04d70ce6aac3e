"""The loss at which training fails, and a message that names the parameter at fault."""

from math import isfinite

from minichar.engine.parameters import Parameters

EXPLODED = 3.0
"""Training fails if the loss exceeds this multiple of the initial loss, as in char-rnn.

If the initial loss is below the uniform baseline ln V, for example when training starts from trained
weights, the baseline is used instead.
"""


def bad_parameter(parameters: Parameters) -> str:
    """Return a message that names the first non-finite parameter.

    If all parameters are finite, the message names the one that contains the largest absolute value.
    """
    backend = parameters.backend
    largest = {name: float(backend.to_host(backend.xp.abs(view).max())) for name, view in parameters.items()}
    for name, value in largest.items():
        if not isfinite(value):
            return f"Parameter {name} is no longer finite"
    name = max(largest, key=lambda name: largest[name])
    return f"Parameter {name} has grown to {largest[name]:.3g}"
