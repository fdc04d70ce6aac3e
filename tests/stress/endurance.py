"""Train for a long time with many evaluations, and check that speed and memory use remain constant.

    python tests/stress/endurance.py --seconds 250 --eval-val-every 10
    python tests/stress/endurance.py --seconds 3600 --eval-val-every 12000

Measures chunks per second of CPU time and memory use in windows of equal length. At the end of each window,
the run takes turns with a new run that has the same options, a few steps at a time. The median ratio of their
speeds is reported, which cancels out other load on the machine. The last line compares the last third of the
windows with the first third.

With ``--sample``, generates one stream of so many characters instead:

    python tests/stress/endurance.py --sample 10000000
"""

import gc
import os
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from common import options, random_text

from minichar.cli.report import Report
from minichar.sampling.generate import Generation, generate
from minichar.training.events import Step
from minichar.training.settings import Settings
from minichar.training.start import begin

WINDOWS = 15
STEPS, CHARACTERS = 50, 1000
"""Length of a turn, in steps of training or in characters of generated text."""
SHARE, LONGEST, TURNS = 0.5, 20.0, 3
"""Time for turns as a fraction of the window, its maximum in seconds, and the minimum number of turns."""
FOREVER = 10**9


def memory():
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def training(directory, seconds, every):
    """Train, and yield for each window the speed, its ratio to that of a new run, and memory in bytes."""
    (directory / "input.txt").write_text(random_text(20_000))
    settings = Settings(
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
        patience=0,
    )
    steps = reported_steps(settings)
    for window in range(WINDOWS):
        end, cpu, count = monotonic() + seconds / WINDOWS, process_time(), 0
        while monotonic() < end or count % every:
            next(steps)
            count += 1
        gc.collect()  # frees the new run of the previous window
        speed, used = count / (process_time() - cpu), memory()
        new = reported_steps(replace(settings, checkpoint_dir=directory / f"new{window}"))
        yield speed, speed_ratio(steps, new, STEPS, seconds / WINDOWS), used
        new.close()


def speed_ratio(old, new, length, window):
    """Alternate between two runs, and return the median ratio of the old run's speed to the new run's."""
    end, ratios = monotonic() + min(SHARE * window, LONGEST), []

    def turn(run):
        cpu = process_time()
        for _ in islice(run, length):
            pass
        return process_time() - cpu

    turn(new)  # allocates memory
    while len(ratios) < TURNS or monotonic() < end:
        ratios.append(turn(new) / turn(old))
    return median(ratios)


def reported_steps(settings):
    """Start a run and yield its steps. Send the output of ``minichar train`` to a log and the null device."""
    run = begin(settings)
    with (
        open(os.devnull, "w") as null,
        redirect_stderr(null),
        Report(run, 100, settings.checkpoint_dir.with_suffix(".jsonl"), True) as report,
    ):
        for event in run.trainer.run():
            report.show(event)
            if isinstance(event, Step):
                yield event


def sampling(directory, characters):
    """Generate one stream, and yield the measurements of each window."""
    stream, model = generate(untrained_model(directory), Generation(length=0)), untrained_model(directory)
    for _ in range(WINDOWS):
        start, cpu, size = monotonic(), process_time(), 0
        while size < characters // WINDOWS:
            size += len(next(stream))
        speed, used = size / (process_time() - cpu), memory()
        yield (
            speed,
            speed_ratio(stream, generate(model, Generation(length=0)), CHARACTERS, monotonic() - start),
            used,
        )


def untrained_model(directory):
    """Return a small model with random weights."""
    return begin(Settings(checkpoint_dir=directory, rnn_size=32, num_layers=1)).trainer.model


def main():
    given = options(__doc__, seconds=250.0, eval_val_every=10, sample=0)
    ratios, sizes = [], []
    with TemporaryDirectory() as name:
        if given.sample:
            windows = sampling(Path(name), given.sample)
        else:
            windows = training(Path(name), given.seconds, given.eval_val_every)
        for speed, ratio, size in windows:
            ratios.append(ratio)
            sizes.append(size)
            relative = f"{ratio:.3f} times that of a new run"
            print(f"{speed:10,.1f} per second of CPU time, {relative}, {size / 1e6:,.1f} MB", flush=True)
    third = WINDOWS // 3
    change = median(ratios[-third:]) / median(ratios[:third])
    print(f"last third / first third: speed {change:.3f}, memory {sizes[-1] / sizes[third]:.3f}")


if __name__ == "__main__":
    main()
