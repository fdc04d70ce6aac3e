"""Draw the figures of docs/performance.md from fresh measurements: ``python docs/measured/speed.py``.

Needs Matplotlib (``pip install matplotlib``), an idle machine and two minutes.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from minichar.bench import ours
from minichar.bench.work import Work
from minichar.devices.backend import Backend
from minichar.model import CharRNN

HERE = Path(__file__).parent
KINDS = {
    "products": ("matmul",),
    "element by element": (
        "multiply",
        "add",
        "subtract",
        "divide",
        "tanh",
        "exp",
        "sqrt",
        "log",
        "clip",
        "maximum",
    ),
    "picking columns": ("take", "unique", "take_along_axis", "put_along_axis", "arange"),
}
GROWTH = {
    "rnn_size": ("H, hidden units", (64, 128, 256, 512)),
    "batch_size": ("B, sequences", (10, 25, 50, 100)),
    "seq_length": ("T, time steps", (10, 25, 50, 100)),
    "vocab_size": ("V, characters", (65, 250, 1000, 2500)),
    "num_layers": ("L, layers", (1, 2, 3, 4)),
}


def fastest(unit, times):
    """Seconds of the fastest call: what else the machine does can only slow it down."""

    def once():
        begun = perf_counter()
        unit()
        return perf_counter() - begun

    unit()
    return min(once() for _ in range(times))


class Timed:
    """NumPy with a clock: seconds by kind of function."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def __getattr__(self, name):
        function = getattr(np, name)
        kind = next((kind for kind, names in KINDS.items() if name in names), None)
        if kind is None:
            return function

        def timed(*arguments, **keywords):
            begun = perf_counter()
            result = function(*arguments, **keywords)
            self.seconds[kind] += perf_counter() - begun
            return result

        setattr(self, name, timed)
        return timed


def shares(work, times=20):
    """Share of a training step's time by kind; what no function accounts for is Python and copies."""
    backend = Backend()
    backend.xp = Timed()
    model = CharRNN.new(work.config(), ours.vocabulary(work.vocab_size), seed=1, backend=backend)
    unit = ours.training(work, model, backend)
    steps = []
    for _ in range(times):
        backend.xp.seconds.clear()
        begun = perf_counter()
        unit()
        steps.append((perf_counter() - begun, dict(backend.xp.seconds)))
    total, seconds = min(steps, key=lambda step: step[0])
    found = {kind: seconds.get(kind, 0.0) / total for kind in KINDS}
    return found | {"Python and copies": 1 - sum(found.values())}


def draw_shares():
    """Where the time of a training step goes, against H."""
    sizes = GROWTH["rnn_size"][1]
    rows = [shares(Work(rnn_size=H)) for H in sizes]
    figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
    left = np.zeros(len(sizes))
    for kind in rows[0]:
        values = np.array([row[kind] for row in rows])
        bars = axes.barh([f"H = {H}" for H in sizes], values, left=left, label=kind)
        axes.bar_label(
            bars, [f"{value:.0%}" if value > 0.04 else "" for value in values], label_type="center"
        )
        left += values
    axes.set(xlim=(0, 1), xlabel="share of a training step, LSTM, L = 2, B = T = 50, V = 65")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    figure.savefig(HERE / "shares.svg")


def draw_growth():
    """Time per character against each size, beside what the count of operations says."""
    figure, panels = plt.subplots(1, len(GROWTH), figsize=(13, 2.9), layout="constrained", sharey=True)
    for axes, (name, (label, values)) in zip(panels, GROWTH.items(), strict=True):
        works = [replace(Work(), **{name: value}) for value in values]
        times = np.array([fastest(ours.prepare(work), 15) / work.characters * 1e6 for work in works])
        flop = np.array([work.flop / work.characters for work in works])
        axes.loglog(values, times, "o-", label="measured")
        axes.loglog(values, times[-1] * flop / flop[-1], "--", label="as operations grow")
        axes.set_xlabel(label)
        axes.set_xticks(values, map(str, values))
        axes.minorticks_off()
    panels[0].set_ylabel("µs a character")
    panels[0].legend(fontsize="small")
    figure.savefig(HERE / "growth.svg")


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "minichar"
    draw_shares()
    draw_growth()
