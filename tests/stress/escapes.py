"""Run commands on a pseudo-terminal with hostile files, and look for control characters that reach it.

    python tests/stress/escapes.py --rounds 3

In every round, random escape sequences, C1 control characters, bidirectional overrides and line separators
are put into the names of checkpoints and texts, into headers, vocabularies, array names and the plans of
sweeps, and into the arguments of commands. A run fails if anything but text and minichar's own progress
lines reaches the terminal, if it prints a traceback or an error of more than `LONGEST` characters, or if it
does not end. Prints one line per failure, then a summary, and exits with status 1 if any run failed.
"""

import json
import os
import pty
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from common import MINICHAR, ONE_THREAD, options
from test_errors import is_control
from toys import SMALL, TEXT, parts, places, put_together, set_at, toy_model

from minichar.checkpoints.checkpoint import save

PIECES = (
    "\x1b]0;title\a",  # set the window title
    "\x1b]52;c;cm0=\x1b\\",  # write to the clipboard
    "\x1b[2J\x1b[H",  # clear the screen
    "\x1b[1A\x1b[2K\r",  # rewrite the previous line
    "\x1b[6n",  # make the terminal type its answer
    "\x1bP$q\x1b\\",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\b\b\b",
    "\x7f",
    "\x0b\x0c\x0e\x85",
    "\u202e\u2066",
    "\u2028\u2029",
    "é詩👩\u200d👧",
)
OWN = re.compile(r"\r[^\r\n\x1b]*\x1b\[K")
"""A progress line, or the sequence that clears it."""
LONGEST = 2000
HANG = 60
DATA = ("--data", "input.txt", *SMALL)


def shown_by(arguments, folder):
    """Run a command on a pseudo-terminal. Return what the terminal received and the exit status."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*MINICHAR, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=ONE_THREAD,
    )
    os.close(theirs)
    timer = Timer(HANG, child.kill)
    timer.start()
    received = b""
    with suppress(OSError):  # the process has ended
        while block := os.read(ours, 65536):
            received += block
    os.close(ours)
    status = child.wait()
    timer.cancel()
    return received.decode(errors="backslashreplace").replace("\r\n", "\n"), status


def judge(shown, status):
    """Return what is wrong with a run, or an empty string."""
    if status not in (0, 1, 2):
        return f"status {status}"
    if reached := sorted(filter(is_control, {*OWN.sub("", shown)} - {*"\n\t"})):
        return f"reached the terminal: {''.join(reached)!a}"
    if "Traceback" in shown:
        return "traceback"
    longest = max((len(line) for line in shown.split("\n") if line.startswith("Error: ")), default=0)
    return f"error of {longest:,} characters" if longest > LONGEST else ""


def runs(folder, generator):
    """Write hostile files to `folder`, and yield the arguments of commands that read them."""

    def attack():
        return "".join(generator.choices(PIECES, k=generator.randint(1, 3)))

    checkpoint = next((folder / "cv").glob("*.npz"))
    name = f"lm_{attack()}_epoch1.00_0.0001.npz"
    (folder / "shared").mkdir()
    shutil.copy(checkpoint, folder / "shared" / name)
    for command in ("sample --length 50", "inspect", "eval", "plot", "convert"):
        yield [*command.split(), "shared"]
    yield ["convert", f"shared/{name}", f"{attack()}.html"]
    yield ["inspect", f"shared/{name}", "--html", f"{attack()}.html"]
    yield ["train", "--resume", "shared", "--max-epochs", "2.1"]
    yield ["train", "--init-from", "shared", *DATA, "--max-epochs", "0.1", "--savefile", attack()]

    header, arrays = parts(checkpoint)
    for *where, last in generator.sample([*places(header)], 4):
        changed = json.loads(json.dumps(header))
        new = generator.choice((last, attack()))
        set_at(changed, [*where, last], ...)
        set_at(changed, [*where, new], attack() * generator.choice((1, 10_000)))
        put_together(folder / "header.npz", changed, arrays)
        for command in ("sample --length 50", "inspect", "eval", "train --resume"):
            yield [*command.split(), "header.npz"]
    put_together(folder / "array.npz", header, arrays | {attack().replace("\b", "x"): arrays["state"]})
    yield ["inspect", "array.npz"]

    save(folder / "text.npz", toy_model("".join(sorted({*"".join(PIECES), "a", "\n"})), scale=1.0))
    yield ["sample", "text.npz", "--seed", "1", "--length", "500"]
    yield ["sample", "text.npz", "--seed", "1", "--length", "500", "--num-samples", "3"]

    texts = folder / f"texts{attack()}"
    texts.mkdir()
    for text in range(2):
        (texts / f"{text}{attack()}.txt").write_text(TEXT + "".join(PIECES), encoding="utf-8")
    yield ["train", "--data", str(texts), *SMALL, "--max-epochs", "0.1"]
    (texts / f"2{attack()}.txt").write_bytes(b"\xff\x00")
    yield ["train", "--data", str(texts), *SMALL, "--max-epochs", "0.1"]

    yield ["sweep", *DATA, "--search", "learning_rate=0.01,0.02", "--trials", "1", "--max-epochs", "0.5"]
    plan = json.loads((folder / "sweep" / "sweep.json").read_text(encoding="utf-8"))
    for key in ("database", "study", "digest", attack()):
        changed = plan | {key: attack()}
        (folder / "sweep" / "sweep.json").write_text(json.dumps(changed), encoding="utf-8")
        yield ["sweep", "--trials", "1"]
        yield ["plot", "sweep"]
    changed = plan | {"search": [f"learning_rate={attack()}"]}
    (folder / "sweep" / "sweep.json").write_text(json.dumps(changed), encoding="utf-8")
    yield ["sweep", "--trials", "1"]

    yield [attack()]
    yield [f"--{attack()}"]
    yield ["sample", f"no{attack()}"]
    yield ["train", "--data", f"no{attack()}"]
    yield ["eval", "shared", "--encoding", attack()]


def main():
    given = options(__doc__, rounds=3, seed=1)
    statuses, failures, escaped = Counter(), 0, 0
    for seed in range(given.seed, given.seed + given.rounds):
        with TemporaryDirectory(prefix="escapes-") as name:
            folder = Path(name)
            (folder / "input.txt").write_text(TEXT, encoding="utf-8")
            shown_by(["train", *DATA], folder)
            for arguments in runs(folder, random.Random(seed)):
                shown, status = shown_by(arguments, folder)
                statuses[status] += 1
                escaped += len(re.findall(r"\\x[01789][0-9a-f]|\\u20[26]", shown))
                if problem := judge(shown, status):
                    failures += 1
                    print(f"seed {seed}: minichar {' '.join(map(ascii, arguments))}: {problem}", flush=True)
    counts = ", ".join(f"{count} with status {status}" for status, count in sorted(statuses.items()))
    print(f"{statuses.total()} runs: {counts}; {escaped:,} characters escaped; {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
