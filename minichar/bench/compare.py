"""Two sides at the same work, in turn A B A B …, and what comes of it.

Each turn begins with a pause, in which the threads of the other side go to sleep, and
with a unit that is not counted. The ratio of a round is that of its two turns, so what
else the machine does at the time weighs on both; the result is the median of the rounds.
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
PAUSE = 0.05
UNITS = 20
"""The fewest units that are timed of each side, over all rounds."""
TURN = 0.2
"""A turn lasts at least so many seconds."""
DISTURBED = 2.0
"""On an idle machine the ratios of a work's rounds seldom differ by more than this factor."""


@dataclass(frozen=True)
class Result:
    """What was measured of one work and of the one it is held against, if any.

    Attributes
    ----------
    work, against : Work
    seconds : dict of str to list of list of float
        Of each unit in each round, for ``work`` and ``against``.
    peak : float
        GFLOP/s of a large product in the same run.
    memory : dict of str to int
        Most bytes that each side's process held.
    """

    work: Work
    against: Work | None
    seconds: dict[str, list[list[float]]]
    peak: float
    memory: dict[str, int]

    @property
    def ratios(self) -> list[float]:
        """How many times as many characters a second as the other side, in each round."""
        if self.against is None:
            return []
        scale = self.work.characters / self.against.characters
        rounds = zip(self.seconds["work"], self.seconds["against"], strict=True)
        return [scale * median(theirs) / median(ours) for ours, theirs in rounds]

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`."""
        return median(self.ratios) if self.ratios else None

    @property
    def disturbed(self) -> bool:
        """Whether the rounds differ so much that the ratio means little."""
        return bool(self.ratios) and max(self.ratios) > DISTURBED * min(self.ratios)

    def speed(self, side: str = "work") -> float:
        """Return characters a second of a side, the median of all its units."""
        work = self.work if side == "work" else self.against
        assert work is not None
        return work.characters / median(s for turn in self.seconds[side] for s in turn)

    @property
    def gigaflops(self) -> float:
        """GFLOP/s in products with weights (`Work.flop`)."""
        return self.speed() / self.work.characters * self.work.flop / 1e9

    def describe(self) -> dict[str, Any]:
        """Return everything, the raw samples too, as plain JSON values."""
        speeds = {side: self.speed(side) for side in self.seconds}
        derived = {"ratio": self.ratio, "characters_per_second": speeds, "gigaflops": self.gigaflops}
        return asdict(self) | derived


def opponent(work: Work) -> Work | None:
    """Return what a work is held against.

    Dropout and scheduled sampling against training without them, many streams against
    one, all else against PyTorch; None where it is not installed or has no such cell.
    """
    if work.kind in ("dropout", "scheduled-sampling"):
        return replace(work, kind="train")
    if work.kind == "sample-many":
        return replace(work, kind="sample")
    comparable = work.config().cell.torch is not None and find_spec("torch")
    return replace(work, engine="pytorch") if comparable else None


def compare(work: Work, rounds: int = 5, after_round: Callable[[], object] = lambda: None) -> Result:
    """Measure a work and its opponent in turn, and call `after_round` after each.

    Raises
    ------
    MinicharError
        If one of them cannot be done.
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
    """Return the cells of a result's line, under `HEADINGS`."""
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
    """Yield the lines of the table, in Markdown."""
    rows = [HEADINGS, *map(row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, cells in enumerate(rows):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"
