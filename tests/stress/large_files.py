"""Measure the time and memory that commands need for large hostile files.

    python tests/stress/large_files.py --rows 1000000 --gigabytes 3

First, runs the commands that read the training history of a checkpoint on one with a million evaluations.
Their peak memory use must be at most three times the file size plus 200 MB. Then, runs commands on 3 GB files
that consist of NULs and take up no space on the disk. These commands must print a one-line error and need at
most 200 MB. Prints a table, and exits with status 1 if a command needs more memory or has another result.
"""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from common import MINICHAR, options
from toys import TEXT, TOY, parts, put_together

from minichar.history import COLUMNS

HEADROOM = 200 << 20
LAUNCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process between this one and the command: the memory use of a child includes that of its parent."""
LONG = (
    "plot",
    "plot -o x.svg",
    "plot -o x.png",
    "inspect",
    "train --max-epochs 1e9 --max-time 1e-9 --resume",
)
SPARSE = {
    "x.npz": ("inspect", "sample", "train --resume", "train --data input.txt --init-from", "convert"),
    "x.pt": ("sample", "convert"),
    "x.safetensors": ("sample", "convert"),
    "x.pkl": ("convert",),
    "x.txt": ("inspect", "train --data", "eval cv --data", "sample cv --prime-file"),
}


def run(words):
    """Run a command, and return ``(status, standard error, seconds, peak memory in bytes)``."""
    command, begun = [sys.executable, "-c", LAUNCH, *MINICHAR, *words], perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    status, memory = map(int, done.stdout.split())
    return status, done.stderr, perf_counter() - begun, memory << 10


def long_checkpoint(rows):
    """Train a small model, and return a copy of its checkpoint with `rows` evaluations."""
    Path("input.txt").write_text(TEXT)
    assert run(["train", "--data", "input.txt", *TOY])[0] == 0
    header, arrays = parts(next(Path("cv").glob("*.npz")))
    history = np.random.default_rng(1).uniform(1, 4, (rows, len(COLUMNS)))
    history[:, COLUMNS.index("iteration")] = np.arange(1, rows + 1)
    history[:, COLUMNS.index("epoch")] = np.linspace(0, rows, rows)
    header["training"]["iteration"] = rows
    Path("long").mkdir()
    return put_together(Path("long/lm_lstm_epoch1.00_1.0000.npz"), header, arrays | {"history": history})


def main():
    given = options(__doc__, rows=1_000_000, gigabytes=3.0)
    failed = False
    with TemporaryDirectory() as name, chdir(name):
        path = long_checkpoint(given.rows)
        cases = [(command, path, 3 * path.stat().st_size + HEADROOM, False) for command in LONG]
        for file, commands in SPARSE.items():
            Path(file).touch()
            os.truncate(file, int(given.gigabytes * 2**30))
            cases += [(command, file, HEADROOM, True) for command in commands]
        for command, file, limit, fails in cases:
            status, error, seconds, memory = run([*command.split(), str(file)])
            last = error.splitlines()[-1:]
            wrong = memory > limit or "Traceback" in error or status != fails
            wrong |= fails and not last[0].startswith("Error: ")
            failed |= wrong
            print(f"{command:48} {Path(file).name:32} {seconds:6.1f} s {memory / 1e6:6,.0f} MB")
            if wrong:
                print(f"  failed: status {status}", *last)
    sys.exit(failed)


if __name__ == "__main__":
    main()
