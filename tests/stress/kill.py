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
failure, then a summary, and exits with status 1 if any chain failed. The number of a chain, starting with
``--first``, is its random seed.
"""

import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np
from common import options, random_text, start

from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import checkpoints_in, newest_in
from minichar.checkpoints.naming import is_latest
from minichar.errors import MinicharError

CELLS = ("lstm", "gru", "gru-reset-before", "rnn")
SS = "--use-ss --start-ss 0.7 --min-ss 0.5"
NOISE = ("", "--dropout 0.3", SS, f"--dropout 0.3 {SS}")
SIZE = "--rnn-size 32 --batch-size 8 --seq-length 20 --max-epochs 6"
SAVING = "--patience 0 --eval-val-every 170 --checkpoint-every 0.1 --sample-every 0 --keep 3"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the number could differ between runs on busy cores


def begin(directory, settings):
    """Start the run, or resume it if a checkpoint has been saved."""
    try:
        checkpoints_in(directory / "cv")
    except MinicharError:
        return start(directory, "train", "--data", "../input.txt", *settings.split())
    return start(directory, "train", "--resume", "--checkpoint-every", "0.1")


def result(directory):
    """Return all training results stored in the last checkpoint."""
    model, training = load_training(newest_in(directory / "cv")[0].path)
    return {
        "weights": model.parameters.flat.tobytes(),
        "mean square": training.mean_square.tobytes(),
        "state": training.state.tobytes(),
        "history": np.ascontiguousarray(training.history.to_array()).tobytes(),
        "progress": training.progress,
        "epoch": model.details["epoch"],
    }


def copy(directory, generator):
    """Replace a directory by a copy whose files have random modification times."""
    old = directory.rename(directory.with_name("old"))
    shutil.copytree(old, directory)
    shutil.rmtree(old)
    for path in directory.iterdir():
        os.utime(path, (0, generator.uniform(0, 2e9)))


def set_immutable(paths, sign):
    """Set (``+``) or clear (``-``) the attribute that protects a file from being deleted or replaced."""
    for path in paths:
        subprocess.run(["chattr", f"{sign}i", path], check=True)


def chain(number, root, expected, given):
    """Run one chain and return its statistics."""
    generator = random.Random(number)
    settings = list(expected)[number % len(expected)]
    whole, seconds = expected[settings]
    directory = root / f"chain{number}"
    directory.mkdir()
    checkpoints = directory / "cv"
    figures = {"kills": 0, "during a write": 0, "from latest": 0, "from the start": 0, "failures": 0}
    for _ in range(generator.randint(1, 5)):
        child = begin(directory, settings)
        sleep(generator.uniform(0.1, seconds))
        if child.poll() is not None:
            break
        child.kill()
        child.wait()
        figures["kills"] += 1
        figures["during a write"] += bool(list(checkpoints.glob(".*.tmp")))
        try:
            figures["from latest"] += is_latest(newest_in(checkpoints)[0].path)
        except MinicharError:
            figures["from the start"] += 1
            continue
        if given.copy:
            copy(checkpoints, generator)
        if given.undeletable:
            files = sorted(checkpoints.glob("*.npz"))
            set_immutable(files, "-")
            set_immutable([generator.choice(files)], "+")
    status = begin(directory, settings).wait() if figures["kills"] else 0
    completed = "is at the end of its run" in (directory / "log").read_text(errors="replace")
    found = result(directory)
    different = [name for name in whole if whole[name] != found[name]]
    strays = [path.name for path in checkpoints.iterdir() if path.suffix == ".tmp" or is_latest(path)]
    if given.undeletable:
        set_immutable(checkpoints.glob("*.npz"), "-")
        strays = []
    if different or strays or (status and not completed):
        figures["failures"] = 1
        print(f"chain {number}: status {status}, different: {different}, left over: {strays}, {directory}")
    return figures


def main():
    cores = os.cpu_count()
    given = options(__doc__, chains=200, first=0, jobs=cores, copy=False, undeletable=False)
    begun = monotonic()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        root = Path(name)
        (root / "input.txt").write_text(random_text(8000))
        expected = {}
        for cell, noise in islice(product(CELLS, NOISE), given.chains):
            settings = f"--model {cell} {noise} {SIZE} {SAVING}"
            directory = root / f"whole{len(expected)}"
            directory.mkdir()
            started = monotonic()
            if status := begin(directory, settings).wait():
                sys.exit(f"an uninterrupted run failed with status {status}: see {directory}/log")
            expected[settings] = result(directory), monotonic() - started
        numbers = range(given.first, given.first + given.chains)
        with ThreadPoolExecutor(given.jobs) as pool:
            rows = list(pool.map(lambda number: chain(number, root, expected, given), numbers))
        totals = {name: sum(row[name] for row in rows) for name in rows[0]}
        figures = ", ".join(f"{name} {total}" for name, total in totals.items())
        print(f"{len(rows)} chains in {monotonic() - begun:.0f} s: {figures}")
        if totals["failures"]:
            input("press Enter to delete the directories ") if sys.stdin.isatty() else None
            sys.exit(1)


if __name__ == "__main__":
    main()
