"""Train for a long time with many evaluations, and check that speed and memory use remain constant.

    python tests/stress/endurance.py --seconds 250 --eval-val-every 10
    python tests/stress/endurance.py --seconds 3600 --eval-val-every 12000

Measures the chunks per second of CPU time and the memory use in ten windows of equal length, and prints
them. The first window is a warm-up. The last line compares the last three windows with the three after
the warm-up. Run it on an idle machine.

    python tests/stress/endurance.py --sample 10000000

generates one long stream instead.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import redirect_stderr
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from minichar.cli.report import Report
from minichar.model import CharRNN
from minichar.sampling.generate import generate
from minichar.training.events import Evaluated, Step
from minichar.training.settings import Settings
from minichar.training.start import begin

WINDOWS = 10
FOREVER = 10**9

Window = tuple[int, float, int]
"""Number of chunks or characters, CPU time in seconds, and memory use in bytes."""


def memory() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def training(directory: Path, seconds: float, every: int) -> Iterator[Window]:
    """Train and yield each window."""
    generator = Random(1)
    words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 8))) for _ in range(300)]
    (directory / "input.txt").write_text(" ".join(generator.choices(words, k=20_000)))
    run = begin(
        Settings(
            data=directory / "input.txt",
            checkpoint_dir=directory / "cv",
            rnn_size=32,
            batch_size=10,
            seq_length=20,
            eval_val_every=every,
            val_frac=0.001,
            train_frac=0.999,
            max_epochs=FOREVER,
            keep=1,
        )
    )
    with (
        open(os.devnull, "w") as null,
        redirect_stderr(null),
        Report(run, 100, directory / "log", True) as report,
    ):
        count, cpu, end = 0, process_time(), monotonic() + seconds / WINDOWS
        for event in run.trainer.run():
            report.show(event)
            count += isinstance(event, Step)
            if isinstance(event, Evaluated) and monotonic() >= end:
                yield count, process_time() - cpu, memory()
                count, cpu, end = 0, process_time(), monotonic() + seconds / WINDOWS


def sampling(directory: Path, characters: int) -> Iterator[Window]:
    """Generate one stream and yield each window."""
    settings = Settings(checkpoint_dir=directory, rnn_size=32, num_layers=1)
    run = begin(settings)
    model: CharRNN = run.trainer.model
    stream = generate(model, 0)
    for _ in range(WINDOWS):
        cpu = process_time()
        count = sum(len(piece) for piece in islice(stream, characters // WINDOWS))
        yield count, process_time() - cpu, memory()


def main() -> None:
    """Run one test and print the results."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seconds", type=float, default=250)
    parser.add_argument("--eval-val-every", type=int, default=10)
    parser.add_argument("--sample", type=int, default=0, help="number of characters to generate")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        if arguments.sample:
            windows = list(sampling(Path(name), arguments.sample))
        else:
            everything = training(Path(name), arguments.seconds, arguments.eval_val_every)
            windows = list(islice(everything, WINDOWS))
    speeds = [count / cpu for count, cpu, _ in windows]
    sizes = [size for *_, size in windows]
    for speed, size in zip(speeds, sizes, strict=True):
        print(f"{speed:12,.1f} per second of CPU time {size / 1e6:10,.1f} MB")
    speed = median(speeds[-3:]) / median(speeds[1:4])
    growth = sizes[-1] / sizes[1]
    print(f"at the end / after the warm-up: speed {speed:.3f}, memory {growth:.3f}")


if __name__ == "__main__":
    main()
