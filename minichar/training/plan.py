"""Plan a run: choose its options and its device, for the remaining time and the speed of the machine.

The options are chosen by arithmetic on the length of the text, its number of distinct characters and the
time (`minichar.training.choose`): first for the nominal machine, then for this one. The text is laid out
once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from time import monotonic

from minichar.checks import AUTO
from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.text.batches import Split
from minichar.text.corpus import Corpus
from minichar.training.choose import TimeBudget, choose, choose_max_epochs, config_of, facts_of
from minichar.training.cost import speed_of
from minichar.training.device import fit_threads, suited, time_step
from minichar.training.settings import Settings
from minichar.training.team import Team
from minichar.training.text import lay_out_to_train

SMALL, LARGE = 64, 256
"""Numbers of hidden units with which the speed is measured."""
TRAINING_SHARE = 0.8
"""Fraction of the remaining time used for training steps. Evaluations take up to a tenth, and so does the
yardstick."""
MEASURING = 0.1
"""Fraction of the training time after which no second size is measured."""
LEAST = 1.0
"""Minimum time for training steps, in seconds."""


@dataclass(frozen=True)
class Plan:
    """The options and the device of a new run, and the text, laid out for them."""

    settings: Settings
    split: Split
    device: Backend
    notes: list[str]  # at most one, which explains the choice of device
    most_epochs: float  # maximum number of epochs if the run is extended


def plan(
    settings: Settings,
    corpus: Corpus,
    devices: Sequence[Backend],
    team: Team,
    started: float,
    from_scratch: bool = True,
) -> Plan:
    """Plan a new run.

    With a time limit, the options are chosen for the remaining time on the run's device; otherwise, for the
    recipe's time on the nominal machine. The time limit counts from `started`, as measured by
    `time.monotonic`.
    """
    budget = time_left(settings, started)
    draft = choose(settings, corpus, from_scratch, budget)
    split, config = lay_out_to_train(corpus, draft), config_of(draft, len(corpus.vocabulary))
    device, notes = suited(devices, config, split.B, draft.dtype)
    nominal = time_left(settings, started)  # the comparison of devices takes time
    if team.size == 1:  # otherwise, each process uses one thread
        fit_threads(device, config, split.B)
    if nominal and AUTO in (settings.rnn_size, settings.max_epochs):
        sizes = (SMALL, LARGE) if settings.rnn_size is AUTO else (settings.rnn_size,)
        budget = measured(nominal, draft, corpus, split, device, team, sizes)

    chosen = choose(settings, corpus, from_scratch, budget)
    most_epochs = chosen.max_epochs
    if nominal and settings.max_epochs is AUTO:
        facts = facts_of(chosen, corpus, from_scratch, TimeBudget(inf))
        most_epochs = choose_max_epochs(facts, facts.reduced(chosen))
    return Plan(chosen, split, device, notes, most_epochs)


def extended(
    settings: Settings,
    corpus: Corpus,
    split: Split,
    device: Backend,
    team: Team,
    started: float,
    iteration: int,
) -> float:
    """Return the number of epochs at the time limit, for a run that has made `iteration` steps."""
    nominal = time_left(settings, started)
    assert nominal is not None
    budget = measured(nominal, settings, corpus, split, device, team, (settings.rnn_size,))
    steps = budget.steps(config_of(settings, len(corpus.vocabulary)), split.B, split.T)
    return round((iteration + steps) / len(split.train), 6)


def time_left(settings: Settings, started: float) -> TimeBudget | None:
    """Return the time for training steps on the nominal machine, or None if there is no time limit."""
    if not settings.max_time:
        return None
    return TimeBudget(max(TRAINING_SHARE * (60 * settings.max_time - (monotonic() - started)), LEAST))


def measured(
    nominal: TimeBudget,
    settings: Settings,
    corpus: Corpus,
    split: Split,
    device: Backend,
    team: Team,
    sizes: Sequence[int],
) -> TimeBudget:
    """Return the budget with the speed of `device`, as measured by rank 0, in place of the nominal speed.

    This measures the given numbers of hidden units: on a very busy machine, only the first.
    """

    def measure() -> TimeBudget:
        device.announce("measuring the speed of this machine, to plan the run")
        streams = ceil(split.B / team.size)
        begun = monotonic()
        times: list[tuple[Config, int, int, float]] = []
        for size in sizes:
            if times and monotonic() - begun > MEASURING * nominal.seconds:
                break
            sized = replace(settings, rnn_size=size, embedding=size if settings.tied else settings.embedding)
            config = config_of(sized, len(corpus.vocabulary))
            seconds = time_step(device, config, corpus.vocabulary, sized, split.train.of(slice(streams)))
            times.append((config, streams, split.T, seconds))
        return replace(nominal, speed=speed_of(times), processes=team.size)

    return team.lead(measure)
