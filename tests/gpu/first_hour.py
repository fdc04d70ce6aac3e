"""Check and measure minichar on a GPU: executed on the CPU (cpu_cuda), latency never measured on a card.

    python tests/gpu/first_hour.py --json first_hour.json
    python tests/gpu/first_hour.py --dry

Prints the results and, with ``--json``, saves them after each section. The checks run before the
measurements. After nine minutes (``--minutes``), no further section or measurement is started. If a section
fails, the others still run, and the exit status is 1. On a GPU, PyTorch with CUDA is required, for the
comparison and the count of launches.

``--dry`` tests this script on the CPU, with tiny sizes. It runs everything that does not require a GPU, but
its timings are meaningless.
"""

import argparse
import json
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import gpu_checks as checks
import gpu_measurements as measurements

from minichar.bench.compare import PYTORCH, opponents
from minichar.bench.work import Work
from minichar.bench.worker import FULL_PRECISION, SIDES, environment
from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.extras import one_line
from minichar.files import writing

INSTALL = "pip install torch --index-url https://download.pytorch.org/whl/cu126"
"""The command that installs a PyTorch for CUDA 12, like CuPy and its libraries."""


@dataclass(frozen=True)
class Plan:
    """The sizes, durations and time limit of a run.

    Attributes
    ----------
    device : str
    sizes : tuple of int
        Values of H.
    chunk : int
        Value of both T and B.
    steps : int
        Number of losses to compare, and number of steps in the resumed run.
    duration : float
        Duration of each speed measurement, in seconds.
    end : float
        Time after which no section or measurement is started, in seconds, as measured by `time.monotonic`.
    """

    device: str = "gpu"
    sizes: tuple[int, ...] = (128, 256, 512, 1024)
    chunk: int = 50
    steps: int = 50
    duration: float = 2.0
    end: float = float("inf")

    @property
    def work(self) -> Work:
        """The first benchmark: training an LSTM of the first size."""
        return Work(rnn_size=self.sizes[0], seq_length=self.chunk, batch_size=self.chunk, device=self.device)

    def out_of_time(self) -> bool:
        """Return whether it is too late to start another section or measurement."""
        return monotonic() >= self.end

    def sections(self, backend: Backend) -> dict[str, Callable[[], Any]]:
        """Return the sections in order of importance, keyed by name."""
        work = self.work
        works = measurements.all_works(work, self.sizes)
        return {
            "machine": lambda: machine(backend, work),
            "gradients": lambda: checks.gradients(backend),
            "losses": lambda: checks.losses(backend, work, self.steps),
            "graphs": lambda: checks.graphs(backend, work),
            "sampling": lambda: checks.sampling(backend, work),
            "resuming": lambda: checks.resuming(backend, work, self.steps),
            "chunk kernel": lambda: checks.chunk_kernel(backend, work, self.steps),
            "speed": lambda: print_table(measurements.speed(works, self.duration, self.out_of_time)),
            "launches": lambda: measurements.launches(work),
            "memory": lambda: measurements.memory(backend, replace(work, rnn_size=self.sizes[-1])),
        }


DRY = Plan("cpu", sizes=(8, 12), chunk=6, steps=6, duration=0.0)


def machine(backend: Backend, work: Work) -> dict[str, Any]:
    """Return software versions and hardware names. On a GPU, fail if PyTorch cannot use it."""
    rival, usable = "PyTorch is not installed", False
    for one in filter(None, opponents(work)[:1]):
        try:
            rival, usable = import_module(SIDES[one.engine]).describe(one), True
        except Exception as error:  # for example if PyTorch was built without CUDA
            rival = one_line(error)
    return {
        "passed": usable or not work.on_gpu,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "cpu": CPU.describe(),
        "device": backend.describe(),
        "rival": rival if usable or not work.on_gpu else f"{rival}: {INSTALL}",
    }


def print_table(rows: Any) -> list[dict[str, Any]]:
    """Print each row of times once it is measured, in milliseconds per iteration, and return all rows."""
    done = []
    for row in rows:
        done.append(row)
        work = Work(**row["work"])
        columns = dict.fromkeys(["cpu", work.device, measurements.KERNEL, *PYTORCH.values()])
        if len(done) == 1:
            print(f"{'milliseconds':28}" + "".join(f"{column:>21}" for column in columns))
        found = {column: f"{time:.2f}" for column, time in row["milliseconds"].items()}
        times = "".join(f"{found.get(column, '–'):>21}" for column in columns)
        print(f"{f'{work.kind} {work.model} {work.num_layers}×{work.rnn_size}':28}{times}", flush=True)
        for column, error in row["errors"].items():
            print(f"    {column}: {error}")
    return done


def has_failed(result: Any, device: str) -> bool:
    """Return whether a check failed or minichar could not be timed on the device."""
    if isinstance(result, dict):
        return not result.get("passed", True)
    return any({device, measurements.KERNEL} & row["errors"].keys() for row in result)


def run(plan: Plan, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run all sections, print the results and the warnings, and return both.

    `save` is called with the results so far, before the first section and after each one.
    """
    results: dict[str, Any] = {"failed": [], "left out": [], "warnings": {}}
    name = "device"

    def show(message: Any, *details: Any) -> None:
        known = results["warnings"].setdefault(name, [])
        if str(message) not in known:
            known.append(str(message))
            print(f"warning: {message}", flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always")  # each section opens the device again, with its own fallbacks
        warnings.showwarning = show
        backend = open_device(plan.device)
        save(results)  # before the first section, to detect a file that cannot be written
        for name, section in plan.sections(backend).items():
            if plan.out_of_time():
                results["left out"].append(name)
            else:
                print(f"\n== {name}", flush=True)
                results[name] = result = run_section(section)
                if isinstance(result, dict):
                    for key, value in result.items():
                        print(f"{key:28}{value}")
                if has_failed(result, plan.device):
                    results["failed"].append(name)
            save(results)
    return results


def open_device(name: str) -> Backend:
    """Return a backend. If the device cannot be used, the error message mentions ``--dry``."""
    try:
        return open_backend(name)
    except MinicharError as error:
        raise MinicharError(f"{error}; to test this script without a GPU, use --dry") from error


def run_section(section: Callable[[], Any]) -> Any:
    """Return the results of a section, or its error, so that the other sections still run."""
    try:
        return section()
    except Exception as error:
        traceback.print_exc()
        return {"passed": False, "error": f"{type(error).__name__}: {error}"}


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--device", default="gpu", help="gpu or gpu:N")
    parser.add_argument("--minutes", type=float, default=9.0, help="start nothing after this time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the results to FILE")
    parser.add_argument("--dry", action="store_true", help="run on the CPU with tiny sizes")
    given = parser.parse_args(arguments)
    begun = monotonic()
    plan = replace(DRY if given.dry else Plan(given.device), end=begun + 60.0 * given.minutes)

    def save(results: dict[str, Any]) -> None:
        if given.json:
            saved = {"dry": given.dry, "seconds": round(monotonic() - begun)} | results
            with writing(given.json) as file:
                file.write(json.dumps(saved, indent=1, ensure_ascii=False).encode())

    try:
        with environment(FULL_PRECISION):
            results = run(plan, save)
    except MinicharError as error:
        print(error, file=sys.stderr)
        return 1
    for name in ("failed", "left out"):
        print(f"\n{name}: {', '.join(results[name]) or 'nothing'}")
    return int(bool(results["failed"]))


if __name__ == "__main__":
    sys.exit(main())
