"""The values that change during training: learning rate, teacher-forcing ratio and averaging decay.

They depend only on the number of completed steps, so they have no state to store in checkpoints.
"""

from math import exp
from typing import Any

SS_SCHEDULES = ("linear", "exponential", "inverse-sigmoid")


def rates(settings: Any, i: int, per_epoch: int, total: int) -> tuple[float, float, float]:
    """Return the learning rate, the teacher-forcing ratio and the averaging decay d at step `i` of `total`.

    i counts from 0, and e = i // `per_epoch` is the epoch. In the first w = round(warmup · total) steps, the
    learning rate rises linearly. It is multiplied by `learning_rate_decay` at the end of every epoch,
    beginning with epoch `learning_rate_decay_after` (counted from 1, as in char-rnn)::

        learning rate    η · min(1, (i + 1) / w) · decay^max(0, e + 1 - max(after, 1))
        d                min(ema, (1 + i) / (10 + i))
    """
    s, e, w = settings, i // per_epoch, round(settings.warmup * total)
    warmup = (i + 1) / w if i < w else 1.0
    decay = float(s.learning_rate_decay ** max(0, e + 1 - max(s.learning_rate_decay_after, 1)))
    ratio = teacher_forcing_ratio(e, s.ss_schedule, s.start_ss, s.decay_ss, s.min_ss) if s.use_ss else 1.0
    return s.learning_rate * warmup * decay, ratio, min(s.ema, (1 + i) / (10 + i))


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
