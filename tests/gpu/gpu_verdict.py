"""Compare measurements with estimates: executed on the CPU (cpu_cuda), latency never measured on a card.

The estimates and the goals are in docs/measured/gpu.csv.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench_work import Work
from gpu_measurements import FUSED, KERNEL, PRODUCT, SPEED, title

TABLE = Path(__file__).parents[2] / "docs" / "measured" / "gpu.csv"
CHAIN = 255
"""Longest chain of operations in a training step of an LSTM (docs/design.md), half of them products."""
NAMES = {"cpu": "the CPU"}
"""What a column of times is called in the table, if not by its name."""


def verdict(results: dict[str, Any], compared: bool = True) -> list[dict[str, Any]]:
    """Return the rows of the table, with what was measured and how it compares."""
    found = quantities(results)
    with TABLE.open(encoding="utf-8") as file:
        rows = [row | {"measured": found.get(row["quantity"])} for row in csv.DictReader(file)]
    return [row | {"verdict": compare(row, compared)} for row in rows]


def compare(row: dict[str, Any], compared: bool = True) -> str:
    """Return how a measurement compares with its estimate or goal."""
    value, is_goal = row["measured"], row["kind"] == "goal"
    if value is None:
        return "not measured"
    if not compared:
        return "not compared"
    if value < float(row["least"]):
        return "missed" if is_goal else "lower"
    if is_goal:
        return "reached"
    return "higher" if value > float(row["most"]) else "as estimated"


def quantities(results: dict[str, Any]) -> dict[str, float]:
    """Return the measurements, keyed by quantity as in the table."""
    found = dict(results.get("calibration", {}).get("microseconds", {}))
    rows = (row for name in SPEED for row in results.get(name, []) if isinstance(row, dict))
    for row in rows:
        found |= speeds(Work(**row["work"]), row["milliseconds"], found)
    return found


def speeds(work: Work, milliseconds: dict[str, float], operations: dict[str, float]) -> dict[str, float]:
    """Return the time of a benchmark on the device in milliseconds, and its ratios to other times.

    `operations` contains the measurements of `calibration`.
    """
    if work.device not in milliseconds:
        return {}
    name, ours = title(work), milliseconds[work.device]
    found = {name: ours}
    for column, time in milliseconds.items():
        if column == KERNEL:
            found |= {f"{name}, {KERNEL}": time, f"{name}, speed-up by the {KERNEL}": ours / time}
        elif column != work.device:
            found[f"{name}, speed relative to {NAMES.get(column, column)}"] = time / ours
    pair = [operations.get(f"{operation}, H = {work.rnn_size}") for operation in (PRODUCT, FUSED)]
    if (work.kind, work.model) == ("train", "lstm") and None not in pair:
        found[f"{name}, relative to its chain"] = 1000 * ours / (CHAIN / 2 * sum(pair))
    return found


def lines(rows: Iterable[dict[str, Any]]) -> Iterable[str]:
    """Yield the lines of the printed table."""
    yield f"{'':53}{'expected':>12}{'measured':>10}"
    for row in rows:
        expected = f"{row['least']} – {row['most']}" if row["most"] else f"≥ {row['least']}"
        found = "–" if row["measured"] is None else f"{row['measured']:.3g}"
        yield f"{row['quantity']:50}{row['unit']:3}{expected:>12}{found:>10}  {row['verdict']}"
