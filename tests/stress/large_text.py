"""Train on a large generated text, and measure the time to the first training step and the memory use.

    python tests/stress/large_text.py --megabytes 2000
    python tests/stress/large_text.py --megabytes 2000 --chinese
    python tests/stress/large_text.py --megabytes 1000 --ranks 2

Runs ``minichar train`` once without an id cache and then several times with the cache from the first run, and
prints the medians. Then reads all training chunks once, as in an epoch. Because the text has just been
written, it is in the operating system's page cache if memory allows. With several ranks, ``mpiexec`` starts
``minichar train``, and the reported peak is the highest of any rank. Requires free disk space of twice the
text size, in ``--dir`` if it is given.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

from common import MINICHAR, options

WORDS = 100_000
TINY = "--rnn-size 16 --num-layers 1 --max-epochs 1e-6 --train-frac 1 --val-frac 0"
READ = """
import sys
from pathlib import Path
from minichar.training.choose import choose
from minichar.training.settings import Settings
from minichar.training.text import lay_out, read_corpus
settings = Settings(data=Path(sys.argv[1]))
corpus = read_corpus(settings)
for chunk in lay_out(corpus, choose(settings, corpus)).train:
    pass
print("done", file=sys.stderr)
"""


def write_text(path, size, chinese):
    """Write random words to a file until it has at least `size` bytes."""
    generator = Random(1)
    letters = range(0x4E00, 0x5DC0) if chinese else range(ord("a"), ord("z") + 1)
    lengths = (1, 3) if chinese else (2, 9)
    words = [
        "".join(map(chr, generator.choices(letters, k=generator.randint(*lengths)))) for _ in range(20_000)
    ]
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write((" ".join(generator.choices(words, k=WORDS)) + "\n").encode())


def run(what, command, until, rounds=1):
    """Run a command several times, and print its median times and highest peak memory."""
    seconds, cpu, memory = zip(*(measure(what, command, until) for _ in range(rounds)), strict=True)
    times = f"{median(seconds):6.2f} s, {median(cpu):6.2f} s of CPU time"
    print(f"{what:26} {times}, peak {max(memory) / 1e6:6,.0f} MB", flush=True)


def measure(what, command, until):
    """Run a command, and return its elapsed time, CPU time and peak memory in bytes.

    The elapsed time is measured up to the first line on standard error that starts with `until`.
    """
    begun, seconds, messages = monotonic(), None, []
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        messages = [*messages[-19:], line]
        if line.startswith(until) and seconds is None:
            seconds = monotonic() - begun
    _, status, usage = os.wait4(process.pid, 0)
    if status or seconds is None:
        raise SystemExit(f"{what}: the command failed\n{''.join(messages)}")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return seconds, usage.ru_utime + usage.ru_stime, memory


def main():
    given = options(__doc__, megabytes=2000, chinese=False, ranks=1, rounds=5, dir="")
    with TemporaryDirectory(dir=given.dir or None) as name:
        path, os.environ["MINICHAR_CACHE"] = Path(name) / "text.txt", name
        write_text(path, given.megabytes * 1e6, given.chinese)
        print(f"text of {path.stat().st_size / 1e9:.2f} GB", flush=True)
        ranks = ("mpiexec", "-n", given.ranks) if given.ranks > 1 else ()
        folder = path.with_name("cv")
        train = (*ranks, *MINICHAR, "train", "--data", path, "--checkpoint-dir", folder, *TINY.split())
        run("first step, without cache", train, until="initial")
        run("first step, with cache", train, until="initial", rounds=given.rounds)
        run("all chunks", (sys.executable, "-c", READ, path), until="done")


if __name__ == "__main__":
    main()
