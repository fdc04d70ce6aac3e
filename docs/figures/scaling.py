"""Speed-up as a function of the number of ranks, according to the cost model in docs/scale.md.

t(N) = t_compute · B / N + t_communicate · 2 (N - 1) / N          strong scaling: B streams in total
t(N) = t_compute · B     + t_communicate · 2 (N - 1) / N          weak scaling: B streams per rank
"""

import numpy as np
from matplotlib.axes import Axes

from .draw import GOLD, INK, PURPLE, drawing

FLOPS = 100e9
"""Operations per second of a single-threaded rank, as measured by ``docs/measured/ranks.py`` for H = 256."""
NETWORKS = {"10 Gbit/s": (1.25e9, PURPLE), "1 Gbit/s": (0.125e9, GOLD)}
"""Bandwidth between machines that run one rank each, in bytes per second."""
PARAMETERS, T, B = 1_335_425, 50, 200  # an LSTM with 2 layers of 320 units


def speed(N: np.ndarray, beta: float, streams: np.ndarray) -> np.ndarray:
    """Return the throughput of N ranks with `streams` streams each, in characters per second."""
    compute = 6 * PARAMETERS * T * streams / FLOPS
    communicate = 4 * PARAMETERS * 2 * (N - 1) / N / beta
    return N * streams * T / (compute + communicate)


@drawing(5, 4.2)
def scaling(ax: Axes) -> None:
    """Plot weak and strong scaling up to 64 ranks, for each network bandwidth."""
    N = 2.0 ** np.arange(7)

    ax.plot(N, N, ":", color=INK, lw=1, label="ideal")
    for name, (beta, colour) in NETWORKS.items():
        for style, how, streams in (
            ("-", "50 streams per rank", np.full(7, 50)),
            ("--", "200 streams in total", B / N),
        ):
            ratio = speed(N, beta, streams) / speed(N[:1], beta, streams[:1])
            ax.plot(N, ratio, style, color=colour, label=f"{name}, {how}")
    ax.set(xscale="log", yscale="log", xlabel="ranks", ylabel="speed-up")
    ax.set_xticks(N, [f"{n:.0f}" for n in N])
    ax.set_yticks(N, [f"{n:.0f}" for n in N])
    ax.minorticks_off()
    ax.legend(fontsize=10)
