"""Check and measure minichar on a GPU: executed on the CPU (cpu_cuda), latency never measured on a card.

    python tests/gpu/first_hour.py --json first_hour.json
    python tests/gpu/first_hour.py --dry

Prints the results and, with ``--json``, saves them after each section. Kernels are compiled first. Checks run
before measurements, and measurements for which there are goals before the others. At the end, the results are
compared with the estimates and goals. After nine minutes (``--minutes``), no further section or measurement
is started. If a section fails, the others still run, and the exit status is 1. On a GPU, PyTorch with CUDA is
required for the comparison.

``--dry`` tests this script with tiny sizes, on the CPU unless a device is given. It runs everything that the
device can, but its timings are meaningless, so they are not compared.
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
from unittest.mock import patch

import gpu_checks as checks
import gpu_measurements as measurements
from bench_compare import FULL_PRECISION, SIDES
from bench_work import Work, opponents
from gpu_sanitizer import sanitizer
from gpu_verdict import lines, verdict

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
    """The sizes, durations and time limit of a run."""

    device: str = "gpu"
    sizes: tuple[int, ...] = (128, 256, 512, 1024)  # values of H; there are goals for all but the last
    chunk: int = 50  # value of T, and of B unless stated otherwise
    batch_sizes: tuple[int, ...] = (128, 512)  # further values of B
    steps: int = 50  # number of losses to compare, and of steps in the resumed run
    duration: float = 2.0  # of each speed measurement, in seconds
    end: float = float("inf")  # as measured by `time.monotonic`; nothing is started later
    compared: bool = True  # whether times are compared with the estimates and goals

    @property
    def work(self) -> Work:
        """The first benchmark: training an LSTM of the first size."""
        return Work(rnn_size=self.sizes[0], seq_length=self.chunk, batch_size=self.chunk, device=self.device)

    def out_of_time(self) -> bool:
        """Return whether it is too late to start another section or measurement."""
        return monotonic() >= self.end

    def sections(self, backend: Backend) -> dict[str, Callable[[], Any]]:
        """Return the sections in order of importance, keyed by name."""
        work, steps, sizes, late = self.work, self.steps, self.sizes, self.out_of_time
        large, largest = (replace(work, rnn_size=H) for H in sizes[-2:])
        goals = measurements.deciding(work, sizes[:-1])
        others = measurements.others(work, sizes, self.batch_sizes)
        return {
            "machine": lambda: machine(backend, work),
            "first step": lambda: first_step(backend, work),
            "gradients": lambda: checks.gradients(backend),
            "losses": lambda: checks.losses(backend, work, steps),
            "losses of a large network": lambda: checks.losses(backend, large, steps, [checks.PLAIN]),
            "graphs": lambda: checks.graphs(backend, work),
            "sampling": lambda: checks.sampling(backend, work),
            "resuming": lambda: checks.resuming(backend, work, steps),
            "chunk kernel": lambda: checks.chunk_kernel(backend, work, steps),
            "calibration": lambda: measurements.calibration(backend, work, sizes),
            "speed": lambda: print_rows(measurements.speed(goals, self.duration, late)),
            "sanitizer": lambda: sanitizer(work, self.end),
            "memory": lambda: measurements.memory(backend, largest),
            "TF32": lambda: measurements.tf32(backend, large, steps, self.duration),
            "other speeds": lambda: print_rows(measurements.speed(others, self.duration, late)),
        }


DRY = Plan("cpu", sizes=(8, 10, 12), chunk=6, batch_sizes=(7, 9), steps=6, duration=0.0, compared=False)


def machine(backend: Backend, work: Work) -> dict[str, Any]:
    """Return software versions and hardware names. On a GPU, fail if PyTorch cannot use it."""
    rival, usable = "PyTorch is not installed", False
    for one in opponents(work)[:1]:
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


def first_step(backend: Backend, work: Work) -> dict[str, Any]:
    """Compile the kernels of all cells and options, and measure the time to the first training step.

    That time is measured in a new process, before and after.
    """
    found, begun = {"first step": measurements.first_step(work)}, monotonic()
    for case in checks.CASES:
        checks.training_losses(backend, work, 1, case)
    found["first step of other networks"] = monotonic() - begun
    return {"seconds": found | {"first step with cached kernels": measurements.first_step(work)}}


def print_rows(rows: Any) -> list[dict[str, Any]]:
    """Print each row of times once it is measured, in milliseconds per iteration, and return all rows."""
    done = []
    for row in rows:
        done.append(row)
        times = ", ".join(f"{column} {time:.3g} ms" for column, time in row["milliseconds"].items())
        print(f"{measurements.title(Work(**row['work']))}: {times}", flush=True)
        for column, error in row["errors"].items():
            print(f"    {column}: {error}")
    return done


def dump(result: Any) -> str:
    """Return results as JSON."""
    return json.dumps(result, indent=1, ensure_ascii=False)


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
        backend = open_backend(plan.device)
        save(results)  # before the first section, to detect a file that cannot be written
        for name, section in plan.sections(backend).items():
            if plan.out_of_time():
                results["left out"].append(name)
            else:
                print(f"\n== {name}", flush=True)
                results[name] = result = run_section(section)
                if isinstance(result, dict):
                    print(dump(result))
                if has_failed(result, plan.device):
                    results["failed"].append(name)
            save(results)
    results["verdict"] = verdict(results, plan.compared)
    save(results)
    print("\n== verdict: estimates and goals for an H100", *lines(results["verdict"]), sep="\n")
    return results


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
    parser.add_argument("--device", help="gpu, the default, or gpu:N")
    parser.add_argument("--minutes", type=float, default=9.0, help="start nothing after this time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the results to FILE")
    parser.add_argument("--dry", action="store_true", help="use tiny sizes, by default on the CPU")
    given = parser.parse_args(arguments)
    begun = monotonic()
    plan = DRY if given.dry else Plan()
    plan = replace(plan, device=given.device or plan.device, end=begun + 60.0 * given.minutes)

    def save(results: dict[str, Any]) -> None:
        if given.json:
            saved = {"dry": given.dry, "seconds": round(monotonic() - begun)} | results
            with writing(given.json) as file:
                file.write(dump(saved).encode())

    try:
        with patch.dict(os.environ, FULL_PRECISION):
            results = run(plan, save)
    except MinicharError as error:
        print(error, file=sys.stderr)
        return 1
    for name in ("failed", "left out"):
        print(f"\n{name}: {', '.join(results[name]) or 'nothing'}")
    return int(bool(results["failed"]))


if __name__ == "__main__":
    sys.exit(main())
