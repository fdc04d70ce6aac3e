"""Compare the throughput of two benchmarks by running them alternately.

Each benchmark runs once per round. Each run is preceded by a pause, which lets the other benchmark's threads
go idle, and by one warm-up iteration. Each round yields one throughput ratio. The two runs in a round are
close in time, so other load on the machine usually affects both. The result is the median ratio over all
rounds.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from math import ceil
from statistics import median
from time import sleep
from typing import Any

from minichar.bench.work import LAYERS, Work
from minichar.bench.worker import Worker

WARM_UP = 3
"""Warm-up iterations before the first measurement."""
PAUSE = 0.05
"""Pause before each run, in seconds."""
UNITS = 20
"""Minimum total number of timed iterations per benchmark."""
TURN = 0.2
"""Minimum duration of a run, in seconds."""
DISTURBED = 2.0
"""A result is considered unreliable if its largest ratio is more than this many times its smallest."""


@dataclass(frozen=True)
class Result:
    """Measurements of a benchmark and its baseline, if it has one.

    The keys of the dicts are the sides, ``work`` and ``against``.
    """

    work: Work
    against: Work | None
    seconds: dict[str, list[list[float]]]  # duration of each iteration, by round
    peak: float  # speed of a large matrix product on the device, in GFLOP/s
    memory: dict[str, int]  # peak host memory of each process, in bytes
    hardware: dict[str, str]  # library and hardware of each process

    @property
    def ratios(self) -> list[float]:
        """Throughput relative to the baseline in each round; empty if there is no baseline."""
        if self.against is None:
            return []
        scale = self.work.characters / self.against.characters
        rounds = zip(self.seconds["work"], self.seconds["against"], strict=True)
        return [scale * median(theirs) / median(ours) for ours, theirs in rounds]

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`; None if there is no baseline."""
        return median(self.ratios) if self.ratios else None

    @property
    def disturbed(self) -> bool:
        """Whether the ratios vary too much between rounds to be reliable."""
        return bool(self.ratios) and max(self.ratios) > DISTURBED * min(self.ratios)

    def speed(self, side: str = "work") -> float:
        """Return the median throughput of `side` (``work`` or ``against``), in characters per second."""
        work = self.work if side == "work" else self.against
        assert work is not None
        return work.characters / median(s for turn in self.seconds[side] for s in turn)

    @property
    def gigaflops(self) -> float:
        """Throughput in GFLOP/s, counting only matrix products that involve weights (see `Work.flop`)."""
        return self.speed() / self.work.characters * self.work.flop / 1e9

    def describe(self) -> dict[str, Any]:
        """Return all fields, including the raw times, as JSON-compatible values."""
        speeds = {side: self.speed(side) for side in self.seconds}
        derived = {"ratio": self.ratio, "characters_per_second": speeds, "gigaflops": self.gigaflops}
        return asdict(self) | derived


def opponents(work: Work) -> list[Work] | list[None]:
    """Return the baselines for a benchmark. Each baseline gets its own row in the table.

    For training with dropout or scheduled sampling, the baseline is plain training. For sampling many
    streams, the baseline is sampling one stream. For all other benchmarks, the baseline is PyTorch, or None
    if PyTorch is not installed or does not implement the cell. On an NVIDIA GPU, training and evaluation are
    also compared with PyTorch running in a CUDA graph.
    """
    if work.kind in ("dropout", "scheduled-sampling"):
        return [replace(work, kind="train")]
    if work.kind == "sample-many":
        return [replace(work, kind="sample")]
    if work.model not in LAYERS or not find_spec("torch"):
        return [None]
    graph = work.on_gpu and work.kind in ("train", "evaluate")
    return [replace(work, engine=engine) for engine in ("pytorch", *["pytorch-graph"] * graph)]


def compare(
    work: Work, against: Work | None, rounds: int = 5, after_round: Callable[[], object] = lambda: None
) -> Result:
    """Run a benchmark and a baseline, one of `opponents`, alternately.

    `after_round` is called after each round, for example to report progress. If either implementation cannot
    run the benchmark, this raises a `MinicharError`.
    """
    with ExitStack() as stack:
        sides = {"work": stack.enter_context(Worker(work))}
        if against is not None:
            sides["against"] = stack.enter_context(Worker(against))
        for side in sides.values():
            side.ask(WARM_UP)
        n = {name: ceil(max(UNITS / rounds, TURN / side.ask(1)[0])) for name, side in sides.items()}
        memory = {name: side.ask("memory") for name, side in sides.items()}
        hardware = {name: side.ask("describe") for name, side in sides.items()}
        peaks = [sides["work"].ask("peak")]
        seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                sleep(PAUSE)
                seconds[name].append(side.ask(1 + n[name])[1:])
            after_round()
        peaks.append(sides["work"].ask("peak"))
    return Result(work, against, seconds, max(peaks), memory, hardware)


PYTORCH = {"pytorch": "PyTorch", "pytorch-graph": "PyTorch, CUDA graph"}
HEADINGS = (
    "benchmark",
    "characters/s",
    "baseline",
    "characters/s",
    "ratio",
    "range",
    "GFLOP/s",
    "% of peak",
    "peak memory",
)


def row(result: Result) -> tuple[str, ...]:
    """Return a row of the results table, with one string per column."""
    work, against = result.work, result.against
    sizes = f"{work.kind} {work.model} {work.num_layers}×{work.rnn_size}"
    megabytes = " / ".join(f"{bytes_ / 1e6:.0f}" for bytes_ in result.memory.values())
    baseline = ("–",) * 4
    if against is not None:
        ratios = f"{min(result.ratios):.2f} – {max(result.ratios):.2f}"
        other, speed = PYTORCH.get(against.engine, against.kind), f"{result.speed('against'):,.0f}"
        baseline = (other, speed, f"{result.ratio:.2f}", ratios)
    share = f"{result.gigaflops / result.peak:.0%}"
    speed = f"{result.speed():,.0f}"
    return sizes, speed, *baseline, f"{result.gigaflops:.0f}", share, f"{megabytes} MB"


def table(results: list[Result]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    rows = [HEADINGS, *map(row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, cells in enumerate(rows):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"
