"""Schedules for the learning rate and the teacher-forcing ratio.

Both schedules depend only on the number of completed steps, so they have no state to store in checkpoints.
"""

from math import exp

SS_SCHEDULES = ("linear", "exponential", "inverse-sigmoid")


def warmup_steps(total: int, warmup: float) -> int:
    """Return the number of warm-up steps: `warmup` times `total`, rounded."""
    return round(warmup * total)


def warmup_factor(i: int, total: int, warmup: float) -> float:
    """Return the learning-rate multiplier of the warm-up at step i = 0, 1, …, `total` - 1.

    It rises linearly during the warm-up and is then 1. With w = round(`warmup` · `total`)::

        (i + 1) / w     for i < w
        1               for i ≥ w
    """
    w = warmup_steps(total, warmup)
    return (i + 1) / w if i < w else 1.0


def step_decay(e: int, decay: float, after: int) -> float:
    """Return the learning-rate multiplier in epoch `e`, counting from 0.

    The multiplier is 1 at first and is multiplied by `decay` at the end of every epoch, beginning with
    epoch `after` (counted from 1, as in char-rnn).
    """
    return float(decay ** max(0, e + 1 - max(after, 1)))


def teacher_forcing_ratio(e: int, schedule: str, start: float, decay: float, minimum: float) -> float:
    """Return the teacher-forcing ratio (the probability of using the true character) in epoch `e`.

    The schedules are those of Bengio et al. 2015, section 2.4, with i replaced by the epoch `e`,
    counted from 0, and with `minimum` as the lower bound::

        linear              start - decay · e
        exponential         start · k^e                      k = 1 - decay
        inverse-sigmoid     start · k / (k + exp(e / k))     k = 1 / decay
    """
    if schedule == "linear":
        ratio = start - decay * e
    elif schedule == "exponential":
        ratio = start * (1.0 - decay) ** e
    else:
        # Equivalent to the docstring's formula, but also valid for decay = 0. The cap prevents overflow
        # in exp.
        ratio = start / (1.0 + decay * exp(min(e * decay, 700.0)))
    return max(ratio, minimum)
