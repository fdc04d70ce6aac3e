"""Run the benchmarks and create the figures for docs/performance.md: ``python docs/measured/speed.py``.

The script requires Matplotlib (``pip install matplotlib``) and an otherwise idle machine, and takes about
two minutes.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np

from minichar.bench import ours
from minichar.bench.work import Work
from minichar.devices.cpu import NumPyBackend
from minichar.engine import readout
from minichar.model import CharRNN
from minichar.training.optimiser import RMSprop

HERE = Path(__file__).parent
GREY = "#808080"  # legible on both light and dark pages
COLOURED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
STYLE = {
    "svg.hashsalt": "minichar",
    "savefig.transparent": True,
    "legend.frameon": False,
    **dict.fromkeys(COLOURED, GREY),
}
KINDS = ("products", "cells", "loss", "optimiser", "gradient of Wx")
GROWTH = {
    "rnn_size": ("H, hidden units", (64, 128, 256, 512)),
    "batch_size": ("B, sequences", (10, 25, 50, 100)),
    "seq_length": ("T, time steps", (10, 25, 50, 100)),
    "vocab_size": ("V, characters", (65, 250, 1000, 2500)),
    "num_layers": ("L, layers", (1, 2, 3, 4)),
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
    model = CharRNN.new(work.config(), ours.vocabulary(work.vocab_size), seed=1, backend=backend)
    steps = []
    with (
        patch.object(readout, "loss_forward", clock.timed("loss", readout.loss_forward)),
        patch.object(readout, "loss_backward", clock.timed("loss", readout.loss_backward)),
        patch.object(RMSprop, "step", clock.timed("optimiser", RMSprop.step)),
    ):
        unit = ours.training(work, model, backend)
        for _ in range(times):
            clock.seconds.clear()
            begun = perf_counter()
            unit()
            steps.append((perf_counter() - begun, dict(clock.seconds)))
    total, seconds = min(steps, key=lambda step: step[0])
    found = {kind: seconds.get(kind, 0.0) / total for kind in KINDS}
    return found | {"copies and Python": 1 - sum(found.values())}


def draw_shares():
    """Plot the fraction of a training step spent on each kind of operation, for several values of H."""
    sizes = GROWTH["rnn_size"][1]
    rows = [shares(Work(rnn_size=H)) for H in sizes]
    figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
    left = np.zeros(len(sizes))
    for kind in rows[0]:
        values = np.array([row[kind] for row in rows])
        bars = axes.barh([f"H = {H}" for H in sizes], values, left=left, label=kind)
        words = [f"{value:.0%}" if value > 0.04 else "" for value in values]
        axes.bar_label(bars, words, label_type="center", color="black")
        left += values
    axes.set(xlim=(0, 1), xlabel="fraction of a training step, LSTM, L = 2, B = T = 50, V = 65")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    figure.savefig(HERE / "shares.svg")


def draw_growth():
    """Plot the time per character against each size, alongside the operation count."""
    figure, panels = plt.subplots(1, len(GROWTH), figsize=(13, 2.9), layout="constrained", sharey=True)
    for axes, (name, (label, values)) in zip(panels, GROWTH.items(), strict=True):
        works = [replace(Work(), **{name: value}) for value in values]
        times = np.array([fastest(ours.prepare(work), 15) / work.characters * 1e6 for work in works])
        flop = np.array([work.flop / work.characters for work in works])
        axes.loglog(values, times, "o-", label="measured")
        axes.loglog(values, times[-1] * flop / flop[-1], "--", label="number of operations")
        axes.set_xlabel(label)
        axes.set_xticks(values, map(str, values))
        axes.minorticks_off()
    panels[0].set_ylabel("µs per character")
    panels[0].legend(fontsize="small")
    figure.savefig(HERE / "growth.svg")


if __name__ == "__main__":
    plt.rcParams.update(STYLE)
    draw_shares()
    draw_growth()
