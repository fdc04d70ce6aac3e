"""Schedules for the learning rate and the teacher-forcing ratio.

Both depend only on the epoch e = 0, 1, 2, …, so checkpoints do not store them.
"""

from math import exp

SS_SCHEDULES = ("linear", "exponential", "inverse-sigmoid")


def learning_rate(e: int, start: float, decay: float, after: int) -> float:
    """Return the learning rate in epoch `e`.

    It starts at `start` and is multiplied by `decay` at the end of every epoch, beginning with epoch
    `after`, which counts from 1 as in char-rnn.
    """
    return float(start * decay ** max(0, e + 1 - max(after, 1)))


def teacher_forcing_ratio(e: int, schedule: str, start: float, decay: float, minimum: float) -> float:
    """Return the teacher-forcing ratio (the probability of using the true character) in epoch `e`.

    The schedules are from Bengio et al. 2015, section 2.4, with the epoch as i and `minimum` as
    the lower bound::

        linear              start - decay · e
        exponential         start · k^e                      k = 1 - decay
        inverse-sigmoid     start · k / (k + exp(e / k))     k = 1 / decay
    """
    if schedule == "linear":
        ratio = start - decay * e
    elif schedule == "exponential":
        ratio = start * (1.0 - decay) ** e
    else:
        # Unlike the formula above, this also works for decay = 0. e⁷⁰⁰ is near the largest float.
        ratio = start / (1.0 + decay * exp(min(e * decay, 700.0)))
    return max(ratio, minimum)
