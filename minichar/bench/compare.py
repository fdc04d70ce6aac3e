"""Measures two sides alternately, A B A B …, and reports the ratio of their speeds.

Each turn starts with a pause, in which the threads of the other side go to sleep, and with one
unit of work that is not counted. The ratio of a round compares its two turns, so that other load on
the machine affects both. The result is the median over the rounds.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from math import ceil
from statistics import median
from time import sleep
from typing import Any

from minichar.bench.work import Work
from minichar.bench.worker import Worker

WARM_UP = 3
"""Units of work before the first measurement."""
PAUSE = 0.05
"""Seconds between two turns."""
UNITS = 20
"""Minimum number of timed units per side, over all rounds."""
TURN = 0.2
"""Minimum duration of a turn, in seconds."""
DISTURBED = 2.0
"""On an idle machine, the ratios of the rounds rarely differ by more than this factor."""


@dataclass(frozen=True)
class Result:
    """The measurements of one kind of work, and of the work it is compared with.

    Attributes
    ----------
    work : Work
    against : Work or None
        The work it is compared with, if any.
    seconds : dict of str to list of list of float
        The duration of each unit in each round, for ``work`` and ``against``.
    peak : float
        Speed of a large matrix product in the same run, in GFLOP/s.
    memory : dict of str to int
        Peak memory of each side's process, in bytes.
    """

    work: Work
    against: Work | None
    seconds: dict[str, list[list[float]]]
    peak: float
    memory: dict[str, int]

    @property
    def ratios(self) -> list[float]:
        """The speed divided by the other side's, for each round; empty without another side."""
        if self.against is None:
            return []
        scale = self.work.characters / self.against.characters
        rounds = zip(self.seconds["work"], self.seconds["against"], strict=True)
        return [scale * median(theirs) / median(ours) for ours, theirs in rounds]

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`; None without another side."""
        return median(self.ratios) if self.ratios else None

    @property
    def disturbed(self) -> bool:
        """Whether the rounds differ too much for the ratio to be reliable."""
        return bool(self.ratios) and max(self.ratios) > DISTURBED * min(self.ratios)

    def speed(self, side: str = "work") -> float:
        """Return the speed of a side in characters per second: the median over all its units."""
        work = self.work if side == "work" else self.against
        assert work is not None
        return work.characters / median(s for turn in self.seconds[side] for s in turn)

    @property
    def gigaflops(self) -> float:
        """The speed of the products with weights (`Work.flop`), in GFLOP/s."""
        return self.speed() / self.work.characters * self.work.flop / 1e9

    def describe(self) -> dict[str, Any]:
        """Return all fields, including the raw times, as JSON values."""
        speeds = {side: self.speed(side) for side in self.seconds}
        derived = {"ratio": self.ratio, "characters_per_second": speeds, "gigaflops": self.gigaflops}
        return asdict(self) | derived


def opponent(work: Work) -> Work | None:
    """Return the work that a work is compared with.

    Dropout and scheduled sampling are compared with training without them, many streams with one,
    everything else with PyTorch. None if PyTorch is not installed or has no such cell.
    """
    if work.kind in ("dropout", "scheduled-sampling"):
        return replace(work, kind="train")
    if work.kind == "sample-many":
        return replace(work, kind="sample")
    comparable = work.config().cell.torch is not None and find_spec("torch")
    return replace(work, engine="pytorch") if comparable else None


def compare(work: Work, rounds: int = 5, after_round: Callable[[], object] = lambda: None) -> Result:
    """Measure a work and its opponent alternately.

    Parameters
    ----------
    work : Work
    rounds : int
        How many turns each side has.
    after_round : callable
        Called after each round, to show progress.

    Raises
    ------
    MinicharError
        If a side cannot do the work.
    """
    against = opponent(work)
    with ExitStack() as stack:
        sides = {"work": stack.enter_context(Worker(work))}
        if against is not None:
            sides["against"] = stack.enter_context(Worker(against))
        for side in sides.values():
            side.units(WARM_UP)
        n = {name: ceil(max(UNITS / rounds, TURN / side.units(1)[0])) for name, side in sides.items()}
        memory = {name: side.memory() for name, side in sides.items()}
        peaks = [sides["work"].peak()]
        seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                sleep(PAUSE)
                seconds[name].append(side.units(1 + n[name])[1:])
            after_round()
        peaks.append(sides["work"].peak())
    return Result(work, against, seconds, max(peaks), memory)


HEADINGS = (
    "work",
    "characters/s",
    "against",
    "characters/s",
    "ratio",
    "of the rounds",
    "GFLOP/s",
    "of peak",
    "peak memory",
)


def row(result: Result) -> tuple[str, ...]:
    """Return a line of the table, one string per heading."""
    work, against = result.work, result.against
    sizes = f"{work.kind} {work.model} {work.num_layers}×{work.rnn_size}"
    megabytes = " / ".join(f"{bytes_ / 1e6:.0f}" for bytes_ in result.memory.values())
    other, speed, ratio, ratios = "–", "–", "–", "–"
    if against is not None:
        other = "PyTorch" if against.engine == "pytorch" else against.kind
        speed, ratio = f"{result.speed('against'):,.0f}", f"{result.ratio:.2f}"
        ratios = f"{min(result.ratios):.2f} – {max(result.ratios):.2f}"
    share = f"{result.gigaflops / result.peak:.0%}"
    return (
        sizes,
        f"{result.speed():,.0f}",
        other,
        speed,
        ratio,
        ratios,
        f"{result.gigaflops:.0f}",
        share,
        f"{megabytes} MB",
    )


def table(results: list[Result]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    rows = [HEADINGS, *map(row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, cells in enumerate(rows):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"
