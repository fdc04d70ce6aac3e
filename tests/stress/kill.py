"""Kill training runs at random times, resume them, and compare the results with uninterrupted runs.

    python tests/stress/kill.py --chains 200
    python tests/stress/kill.py --chains 40 --copy
    python tests/stress/kill.py --chains 40 --undeletable

A chain is one run that is killed with SIGKILL one to five times. After each kill, it is resumed with
``minichar train --resume``, or restarted if no checkpoint was saved. The weights, the optimiser's running
mean square, the recurrent state, the history and the generator state in its last checkpoint must be bitwise
identical to those of an uninterrupted run. With --copy, each kill is followed by replacing the checkpoint
directory with a copy whose files have random modification times. With --undeletable (requires root and
chattr), one of the files can be neither deleted nor replaced until the next kill. Prints one line per
failure, then a summary, and exits with status 1 if any chain failed.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np

from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import checkpoints_in, newest_in
from minichar.checkpoints.naming import is_latest
from minichar.errors import MinicharError

CELLS = ("lstm", "gru", "gru-reset-before", "rnn")
SS = ("--use-ss", "--start-ss", "0.7", "--min-ss", "0.5")
NOISE = (
    (),
    ("--dropout", "0.3"),
    SS,
    ("--dropout", "0.3", *SS),
)
SIZE = ("--rnn-size", "32", "--batch-size", "8", "--seq-length", "20", "--max-epochs", "6")
SAVING = (
    "--patience",
    "0",
    "--eval-val-every",
    "170",
    "--checkpoint-every",
    "0.1",
    "--sample-every",
    "0",
    "--keep",
    "3",
)
CHARACTERS = 40_000
Options = tuple[str, ...]
Result = dict[str, object]
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def text() -> str:
    """Return pseudo-random text with some structure."""
    words = [f"{a}{b}" for a, b in product(("ka", "lo", "mi", "ru", "te"), ("n", "s", "r", "li"))]
    generator = random.Random(1)
    return " ".join(generator.choice(words) for _ in range(CHARACTERS // 4))[:CHARACTERS]


def start(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``minichar train`` in a directory."""
    command = [sys.executable, "-m", "minichar", "train", *arguments]
    with open(directory / "log", "ab") as log:
        return subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, env=ENVIRONMENT)


def begin(directory: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the run, or resume it if a checkpoint has been saved."""
    try:
        checkpoints_in(directory / "cv")
    except MinicharError:
        return start(directory, "--data", "../input.txt", *options)
    return start(directory, "--resume", "--checkpoint-every", "0.1")


def result(directory: Path) -> Result:
    """Return all training results stored in the last checkpoint."""
    model, state = load_training(newest_in(directory / "cv")[0].path)
    return {
        "weights": model.parameters.flat.tobytes(),
        "mean square": state.mean_square.tobytes(),
        "state": state.state.tobytes(),
        "history": np.ascontiguousarray(state.history.to_array()).tobytes(),
        "progress": state.progress,
        "epoch": model.details["epoch"],
    }


def copy(directory: Path, generator: random.Random) -> None:
    """Replace a directory by a copy whose files have random modification times."""
    old = directory.rename(directory.with_name("old"))
    shutil.copytree(old, directory)
    shutil.rmtree(old)
    for path in directory.iterdir():
        os.utime(path, (0, generator.uniform(0, 2e9)))


def set_immutable(paths: Iterable[Path], sign: str) -> None:
    """Set (``+``) or clear (``-``) the attribute that protects a file from being deleted or replaced."""
    for path in paths:
        subprocess.run(["chattr", f"{sign}i", path], check=True)


def chain(
    number: int,
    root: Path,
    expected: dict[Options, tuple[Result, float]],
    copying: bool,
    undeletable: bool,
) -> dict[str, int]:
    """Run one chain and return its statistics."""
    generator = random.Random(number)
    options = list(expected)[number % len(expected)]
    whole, seconds = expected[options]
    directory = root / f"chain{number}"
    directory.mkdir()
    figures = {"kills": 0, "during a write": 0, "from latest": 0, "from the start": 0, "failures": 0}
    for _ in range(generator.randint(1, 5)):
        child = begin(directory, options)
        sleep(generator.uniform(0.1, seconds))
        if child.poll() is not None:
            break
        child.kill()
        child.wait()
        figures["kills"] += 1
        figures["during a write"] += bool(list((directory / "cv").glob(".*.tmp")))
        try:
            figures["from latest"] += is_latest(newest_in(directory / "cv")[0].path)
        except MinicharError:
            figures["from the start"] += 1
            continue
        if copying:
            copy(directory / "cv", generator)
        if undeletable:
            files = sorted((directory / "cv").glob("*.npz"))
            set_immutable(files, "-")
            set_immutable([generator.choice(files)], "+")
    status = begin(directory, options).wait() if figures["kills"] else 0
    if undeletable:
        set_immutable((directory / "cv").glob("*.npz"), "-")
    completed = "is at the end of its run" in (directory / "log").read_text(errors="replace")
    found = result(directory)
    different = [name for name in whole if whole[name] != found[name]]
    strays = [path.name for path in (directory / "cv").iterdir() if path.suffix == ".tmp" or is_latest(path)]
    if undeletable:
        strays = []
    if different or strays or (status and not completed):
        figures["failures"] = 1
        print(f"chain {number}: status {status}, different: {different}, left over: {strays}, {directory}")
    return figures


def main() -> None:
    """Run the chains and print the statistics."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number (and random seed) of the first chain")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--copy", action="store_true", help="copy the directory after each kill")
    parser.add_argument("--undeletable", action="store_true", help="protect a file after each kill")
    arguments = parser.parse_args()
    begun = monotonic()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        root = Path(name)
        (root / "input.txt").write_text(text())
        expected: dict[Options, tuple[Result, float]] = {}
        for cell, noise in islice(product(CELLS, NOISE), arguments.chains):
            options = ("--model", cell, *noise, *SIZE, *SAVING)
            directory = root / f"whole{len(expected)}"
            directory.mkdir()
            started = monotonic()
            if status := start(directory, "--data", "../input.txt", *options).wait():
                sys.exit(f"an uninterrupted run failed with status {status}: see {directory}/log")
            expected[options] = result(directory), monotonic() - started
        numbers = range(arguments.first, arguments.first + arguments.chains)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            disturbances = arguments.copy, arguments.undeletable
            rows = list(pool.map(lambda number: chain(number, root, expected, *disturbances), numbers))
        totals = {name: sum(row[name] for row in rows) for name in rows[0]}
        figures = ", ".join(f"{name} {total}" for name, total in totals.items())
        print(f"{len(rows)} chains in {monotonic() - begun:.0f} s: {figures}")
        if totals["failures"]:
            input("press Enter to delete the directories ") if sys.stdin.isatty() else None
            sys.exit(1)


if __name__ == "__main__":
    main()
