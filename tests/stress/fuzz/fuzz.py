"""Fuzz a reader of untrusted files with atheris (``pip install atheris``).

    python tests/stress/fuzz/fuzz.py pickle --seconds 60

Every input must either load or raise a `MinicharError` with a short, one-line message. An input is saved if
it does neither, takes more than 5 s, or needs more memory than three times the file size plus 200 MB. The
last line of the output summarises the run.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from time import perf_counter

import atheris

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "formats")]
INSTRUMENTED = ["minichar", "zipfile", "pickletools", "json"]
LEAKING = ["minichar.text.vocabulary"]  # instrumented array comparisons leak their results
with atheris.instrument_imports(include=INSTRUMENTED, exclude=LEAKING):
    from readers import READERS

    from minichar.errors import MinicharError

MAX_SECONDS = 5
MAX_MESSAGE = 1000
HEADROOM = 200 << 20
KINDS = ("traceback", "message", "hang", "memory")


def memory(name):
    """Return this process's VmRSS, or VmHWM (its peak since `forget_peak`), in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


class Fuzzer:
    """Run inputs and count failures.

    Parameters
    ----------
    name : str
        A key of `READERS`.
    seconds : float
    folder : Path
        Directory for the reader's files.
    failures : Path
        Directory for failing inputs.
    """

    def __init__(self, name, seconds, folder, failures):
        self.name, self.failures = name, failures
        self.reader = READERS[name](folder)
        self.begun, self.seconds = perf_counter(), seconds
        self.executions, self.slowest, self.largest = 0, 0.0, 0
        self.counts, self.stored = Counter(), set()

    def run(self, data):
        """Read one input. If the time is up, print a summary and exit."""
        if perf_counter() - self.begun > self.seconds:
            self.report()
            sys.stdout.flush()
            os._exit(0)  # there is no other way to stop atheris
        try:
            case, contents = data[0], self.reader.build(data[0], data[1:])
        except Exception:  # the input does not describe a file
            return
        self.executions += 1
        forget_peak()
        before, begun = memory("VmRSS"), perf_counter()
        try:
            self.reader.read(case, contents)
        except MinicharError as error:
            text = str(error)
            if len(text) > MAX_MESSAGE or not text.isprintable():
                self.fail("message", data, ascii(text[:MAX_MESSAGE]))
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.fail("traceback", data, f"{type(error).__name__} in {frame.name}: {ascii(str(error))[:200]}")
        seconds, used = perf_counter() - begun, memory("VmHWM") - before
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, used)
        if seconds > MAX_SECONDS:
            self.fail("hang", data, f"{seconds:.1f} s")
        if used > 3 * len(contents) + HEADROOM:
            self.fail("memory", data, f"{used / 1e6:,.0f} MB")

    def fail(self, kind, data, what):
        """Count a failure and, if it is the first of its kind, save its input."""
        self.counts[kind] += 1
        key = (kind, what.split(":")[0])
        if key not in self.stored:
            self.stored.add(key)
            path = self.failures / f"{self.name}-{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            print(f"{path}: {what}", flush=True)

    def report(self):
        counts = ", ".join(f"{self.counts[kind]:,} {kind}" for kind in KINDS)
        print(
            f"{self.name}: {self.executions:,} executions in {perf_counter() - self.begun:.0f} s; "
            f"failures: {counts}; slowest {self.slowest:.2f} s, largest {self.largest / 1e6:.0f} MB; "
            f"failing inputs in {self.failures}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--replay", type=Path, help="run one saved input and show its traceback")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for name in ("corpus", "failures", "files"):
        (folder / name).mkdir()
    fuzzer = Fuzzer(given.reader, given.seconds, folder / "files", folder / "failures")
    for k, seed in enumerate(fuzzer.reader.seeds()):
        (folder / "corpus" / f"seed{k}").write_bytes(seed)
    if given.replay:
        data = given.replay.read_bytes()
        fuzzer.reader.read(data[0], fuzzer.reader.build(data[0], data[1:]))
        return
    options = ["-timeout=300", "-rss_limit_mb=0", "-max_len=65536", "-verbosity=0", "-detect_leaks=0"]
    prefix = f"-artifact_prefix={folder / 'failures'}/"
    atheris.Setup([sys.argv[0], str(folder / "corpus"), *options, prefix], fuzzer.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
