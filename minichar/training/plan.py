"""Plan a run: choose its options and its device, for the remaining time and the speed of the machine."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, inf
from time import monotonic

from minichar.checks import AUTO
from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.text.corpus import Corpus
from minichar.training.choose import TimeBudget, choose, config_of, facts_of
from minichar.training.cost import speed_of
from minichar.training.device import fit_threads, suited, time_step
from minichar.training.settings import Settings
from minichar.training.team import Team
from minichar.training.text import lay_out, lay_out_to_train

SMALL, LARGE = 64, 256
"""Numbers of hidden units with which the speed is measured."""
TRAINING_SHARE = 0.8
"""Fraction of the remaining time used for training steps. Evaluations take up to a tenth, and so does the
yardstick."""
MEASURING = 0.1
"""Fraction of the training time after which no second size is measured."""
LEAST = 1.0
"""Minimum time for training steps, in seconds."""


def plan(
    settings: Settings,
    corpus: Corpus,
    devices: Sequence[Backend],
    team: Team,
    started: float,
    from_scratch: bool = True,
) -> tuple[Settings, Backend, list[str]]:
    """Return the options of a new run, its device, and at most one note that explains the choice of device.

    With a time limit, the options are chosen for the remaining time on this device; otherwise, for the
    recipe's time on the nominal machine. The number of hidden units is then replaced by one that suits the
    device. The time limit counts from `started`, as measured by `time.monotonic`.
    """
    budget = nominal = time_left(settings, started)
    chosen = choose(settings, corpus, from_scratch, nominal)
    split, config = lay_out_to_train(corpus, chosen), config_of(chosen, len(corpus.vocabulary))
    device, notes = suited(devices, config, split.B, chosen.dtype)
    nominal = time_left(settings, started)  # the comparison of devices takes time
    if team.size == 1:  # otherwise, each process uses one thread
        fit_threads(device, config, split.B)
    if nominal and AUTO in (settings.rnn_size, settings.max_epochs):
        budget = measured(nominal, settings, corpus, device, team, from_scratch)
        chosen = choose(settings, corpus, from_scratch, budget)
    plain = not (chosen.layer_norm or chosen.reset_on or chosen.use_ss) and chosen.dtype == "float32"
    if plain and settings.rnn_size is AUTO:
        # The ranks' devices may differ.
        H = team.lead(lambda: device.suitable_size(chosen.model, chosen.rnn_size))
        if chosen.rnn_size != H:
            chosen = choose(replace(settings, rnn_size=H), corpus, from_scratch, budget)
    return chosen, device, notes


def extended(
    settings: Settings, corpus: Corpus, device: Backend, team: Team, started: float, epoch: float
) -> float:
    """Return the number of epochs after which the time limit is reached if a run continues from `epoch`."""
    nominal = time_left(settings, started)
    facts = facts_of(settings, corpus, budget=nominal and measured(nominal, settings, corpus, device, team))
    return round(epoch + facts.steps(settings) / facts.epoch(settings), 6)


def useful_epochs(settings: Settings, corpus: Corpus) -> float:
    """Return the number of epochs that would be chosen if there were no time limit."""
    return choose(replace(settings, max_epochs=AUTO), corpus, budget=TimeBudget(inf)).max_epochs


def time_left(settings: Settings, started: float) -> TimeBudget | None:
    """Return the time for training steps on the nominal machine, or None if there is no time limit."""
    if not settings.max_time:
        return None
    return TimeBudget(max(TRAINING_SHARE * (60 * settings.max_time - (monotonic() - started)), LEAST))


def measured(
    nominal: TimeBudget,
    settings: Settings,
    corpus: Corpus,
    device: Backend,
    team: Team,
    from_scratch: bool = True,
) -> TimeBudget:
    """Return the budget with the speed of `device`, as measured by rank 0, in place of the nominal speed.

    This measures two sizes of the network or, if the size is given, only that size. On a very busy machine,
    it measures only the smaller one.
    """

    def measure() -> TimeBudget:
        device.announce("measuring the speed of this machine, to plan the run")
        streams = ceil(choose(settings, corpus, from_scratch, nominal).batch_size / team.size)
        begun = monotonic()
        times: list[tuple[Config, int, int, float]] = []
        for size in (SMALL, LARGE) if settings.rnn_size is AUTO else (settings.rnn_size,):
            if times and monotonic() - begun > MEASURING * nominal.seconds:
                break
            sized = replace(settings, rnn_size=size, batch_size=streams)
            chosen = choose(sized, corpus, from_scratch, nominal)
            config, split = config_of(chosen, len(corpus.vocabulary)), lay_out(corpus, chosen)
            seconds = time_step(device, config, corpus.vocabulary, chosen, split)
            times.append((config, split.B, split.T, seconds))
        return replace(nominal, speed=speed_of(times), processes=team.size)

    return team.lead(measure)
