"""What changes from epoch to epoch: the learning rate and the share of true input.

Both depend on the number of whole epochs done, e = 0, 1, 2, …, and on nothing else,
so a run that is resumed needs no memory of them.
"""

from math import exp

SS_SCHEDULES = ("linear", "exponential", "inverse-sigmoid")


def learning_rate(e: int, start: float, decay: float, after: int) -> float:
    """Return η of epoch `e`: `start` up to epoch `after`, then `decay` times less each epoch.

    char-rnn's rule: the rate is first multiplied when epoch `after` (counted from 1) has ended.
    """
    return float(start * decay ** max(0, e + 1 - max(after, 1)))


def true_share(e: int, schedule: str, start: float, decay: float, minimum: float) -> float:
    """Return the probability that scheduled sampling feeds the true character in epoch `e`.

    Bengio et al. 2015, section 2.4, with i counted in epochs and the floor `minimum`::

        linear              start - decay · e
        exponential         start · k^e                      k = 1 - decay
        inverse-sigmoid     start · k / (k + exp(e / k))     k = 1 / decay
    """
    if schedule == "linear":
        share = start - decay * e
    elif schedule == "exponential":
        share = start * (1.0 - decay) ** e
    else:
        # k / (k + exp(e / k)) without the division that a decay of 0 forbids; e⁷⁰⁰ is near the largest float.
        share = start / (1.0 + decay * exp(min(e * decay, 700.0)))
    return max(share, minimum)
