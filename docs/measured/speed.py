"""Measure shares.csv and growth.csv, of which docs/performance.md shows figures.

Run ``python docs/measured/speed.py`` on an otherwise idle machine. It takes about two minutes.
"""

import csv
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "tests" / "bench"))

import bench_minichar
from bench_work import Work

from minichar.devices.cpu import NumPyBackend
from minichar.engine import readout
from minichar.model import CharRNN
from minichar.training.optimiser import RMSprop

KINDS = ("products", "cells", "loss", "optimiser", "gradient of Wx")
GROWTH = {
    "rnn_size": (64, 128, 256, 512),
    "batch_size": (10, 25, 50, 100),
    "seq_length": (10, 25, 50, 100),
    "vocab_size": (65, 250, 1000, 2500),
    "num_layers": (1, 2, 3, 4),
}


def fastest(unit, times):
    """Return the time of the fastest call, in seconds. It is the least affected by other processes."""

    def once():
        begun = perf_counter()
        unit()
        return perf_counter() - begun

    unit()
    return min(once() for _ in range(times))


class Clock:
    """Total time per kind of operation, in seconds. Nested calls count towards the outermost timed call."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.running = False

    def timed(self, kind, function):
        """Return a wrapper that adds the run time of `function` to the total for `kind`."""

        def call(*arguments, **keywords):
            if self.running:
                return function(*arguments, **keywords)
            self.running, begun = True, perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.running = False
                self.seconds[kind] += perf_counter() - begun

        return call


class TimedNumPy:
    """Wrapper around NumPy that times matrix products."""

    def __init__(self, clock):
        self.matmul = clock.timed("products", np.matmul)

    def __getattr__(self, name):
        return getattr(np, name)


class TimedBackend(NumPyBackend):
    """CPU backend that times matrix products, cells and the gradient of Wx."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.xp = clock, TimedNumPy(clock)
        self.sum_columns = clock.timed("gradient of Wx", self.sum_columns)

    def fuse(self, function):
        """Return a timed cell function."""
        return self.clock.timed("cells", super().fuse(function))


def shares(work, times=20):
    """Return the fraction of a training step spent on each kind of operation.

    The last fraction is the rest of the step: copies and Python overhead.
    """
    clock = Clock()
    backend = TimedBackend(clock)
    model = CharRNN.new(work.config(), bench_minichar.vocabulary(work.vocab_size), seed=1, backend=backend)
    steps = []
    with (
        patch.object(readout, "loss_forward", clock.timed("loss", readout.loss_forward)),
        patch.object(readout, "loss_backward", clock.timed("loss", readout.loss_backward)),
        patch.object(RMSprop, "step", clock.timed("optimiser", RMSprop.step)),
    ):
        unit = bench_minichar.training(work, model, backend)
        for _ in range(times):
            clock.seconds.clear()
            begun = perf_counter()
            unit()
            steps.append((perf_counter() - begun, dict(clock.seconds)))
    total, seconds = min(steps, key=lambda step: step[0])
    found = {kind: seconds.get(kind, 0.0) / total for kind in KINDS}
    return found | {"copies and Python": 1 - sum(found.values())}


def write(name, header, rows):
    """Write a CSV file in this directory."""
    with Path(__file__).with_name(name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main():
    """Measure the shares for several values of H, and the time per character for several sizes."""
    found = {H: shares(Work(rnn_size=H)) for H in GROWTH["rnn_size"]}
    rows = [[H, *(f"{value:.4f}" for value in row.values())] for H, row in found.items()]
    write("shares.csv", ["H", *found[64]], rows)
    works = [(name, value, replace(Work(), **{name: value})) for name in GROWTH for value in GROWTH[name]]
    times = [fastest(bench_minichar.prepare(work), 15) / work.characters * 1e6 for *_, work in works]
    rows = [
        [name, value, f"{time:.3g}", f"{work.flop / work.characters:.0f}"]
        for (name, value, work), time in zip(works, times, strict=True)
    ]
    write("growth.csv", ["option", "value", "microseconds", "operations"], rows)


if __name__ == "__main__":
    main()
