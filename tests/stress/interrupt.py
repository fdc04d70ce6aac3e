"""Interrupt every command at random times and tally the results.

    python tests/stress/interrupt.py [RUNS [SECONDS [WORD]]]

Runs every command that contains WORD, RUNS times each. Within SECONDS of the start, sends SIGINT to the
process group, as Ctrl-C in a terminal does. A run fails if it prints a traceback, hangs, exits with a status
that hides the interrupt, or leaves a temporary file behind. Tracebacks printed before
`minichar.__main__.main` is called are counted separately as "start". They cannot be avoided because Python
installs its signal handler before it runs minichar. The worker requires redis-server, and the sweep Optuna,
whose import takes a second or more.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from common import MINICHAR, ONE_THREAD, TEXT
from optional import free_port
from web_helpers import redis_server

TOY = "--rnn-size 8 --num-layers 1 --batch-size 4 --seq-length 6"
COMMANDS = (
    "--help",
    "--version",
    f"train --data input.txt --checkpoint-dir other --max-epochs 2 {TOY}",
    "sample --length 0",
    "sample --num-samples 8",
    "eval",
    "inspect",
    "inspect --html page.html",
    "plot",
    "plot -o loss.svg",
    "convert cv copy.npz --force",
    "convert cv copy.pt --force",
    "data list",
    "data get pydocs --force",
    "gradcheck --rnn-size 3",
    "doctor",
    "lessons",
    "lessons 1",
    "serve --port 0",
    "sweep --data input.txt --search rnn_size=4,8 --trials 1000 --max-epochs 1",
    "worker --redis redis://127.0.0.1:{port}",
)
FINE = (-signal.SIGINT, 128 + signal.SIGINT, 2)
"""Expected exit statuses after an interrupt. pytest, which runs `minichar lessons`, exits with 2."""
NOISE = ("Traceback", "Exception ignored", "Fatal Python error", "Usage: ")


def minichar(command, folder):
    """Start a command in its own process group."""
    return subprocess.Popen(
        [*MINICHAR, *command.split()],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=ONE_THREAD,
    )


def interrupt(command, folder, delay):
    """Run a command, interrupt it after `delay` seconds, and return its exit status and standard error."""
    process = minichar(command, folder)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        stderr = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "hang", process.communicate()[1]
    return process.returncode, stderr


def duration(command, folder, limit):
    """Return how long a command runs, in seconds. Kill it after `limit` seconds."""
    process, start = minichar(command, folder), time.monotonic()
    try:
        process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        remove_temporary(folder)
    return time.monotonic() - start


def remove_temporary(folder):
    for path in folder.rglob("*.tmp"):
        path.unlink()


def judge(status, stderr, folder):
    """Return what went wrong in a run, or an empty string."""
    for noise in NOISE:
        if noise in stderr:
            return noise if re.search(r"__main__\.py\", line \d+, in main", stderr) else "start"
    if status not in (0, *FINE):
        return f"status {status}"
    if left := [path.name for path in folder.rglob("*.tmp")]:
        return f"left {left}"
    return ""


def tally(command, folder, runs, limit):
    """Interrupt a command `runs` times, and count its exit statuses and faults."""
    generator = random.Random(1)
    longest = min(limit, 1.1 * duration(command, folder, limit))
    statuses, faults = Counter(), Counter()
    for _ in range(runs):
        delay = generator.uniform(0, longest)
        status, stderr = interrupt(command, folder, delay)
        statuses[status] += 1
        if fault := judge(status, stderr, folder):
            faults[fault] += 1
            if fault != "start":
                print(f"after {delay:.3f} s: {fault}\n{stderr}")
                remove_temporary(folder)
    print(f"{command[:32]:32} up to {longest:.2f} s  {dict(statuses)}  {dict(faults)}", flush=True)
    return statuses, faults


def main(runs=100, limit=1.0, word=""):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if this script is a background job
    bad, sent, port = Counter(), 0, free_port()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "input.txt").write_text(TEXT * 4)
        minichar(f"train --data input.txt --max-epochs 1 {TOY}", folder).communicate()
        for command in (command for command in COMMANDS if word in command):
            with redis_server(port, folder) if "redis" in command else nullcontext():
                statuses, faults = tally(command.format(port=port), folder, int(runs), float(limit))
            bad += faults
            sent += statuses.total()
    print(f"{sent} interrupts: {dict(bad) or 'no faults'}")
    return bool(bad.keys() - {"start"})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
