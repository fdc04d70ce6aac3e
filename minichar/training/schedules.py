"""Schedules for the learning rate and the teacher-forcing ratio.

Both depend only on the epoch e = 0, 1, 2, …, so a checkpoint does not have to store them.
"""

from math import exp

SS_SCHEDULES = ("linear", "exponential", "inverse-sigmoid")


def learning_rate(e: int, start: float, decay: float, after: int) -> float:
    """Return the learning rate of epoch `e`: `start`, multiplied by `decay` each epoch from epoch `after` on.

    As in char-rnn, the first multiplication is at the end of epoch `after`, counted from 1.
    """
    return float(start * decay ** max(0, e + 1 - max(after, 1)))


def teacher_forcing_ratio(e: int, schedule: str, start: float, decay: float, minimum: float) -> float:
    """Return the teacher-forcing ratio of epoch `e`, the probability of feeding the true character.

    The schedules are from Bengio et al. 2015, section 2.4, with i measured in epochs and with the
    lower bound `minimum`::

        linear              start - decay · e
        exponential         start · k^e                      k = 1 - decay
        inverse-sigmoid     start · k / (k + exp(e / k))     k = 1 / decay
    """
    if schedule == "linear":
        ratio = start - decay * e
    elif schedule == "exponential":
        ratio = start * (1.0 - decay) ** e
    else:
        # The fraction is multiplied by decay / decay, so decay can be 0. e⁷⁰⁰ is near the largest float.
        ratio = start / (1.0 + decay * exp(min(e * decay, 700.0)))
    return max(ratio, minimum)
