"""Cells used by the tests: the names of those that PyTorch implements, and `ODD`.

`ODD` has no practical use. It covers features that the registered cells lack: three states, a first stage
that has two matrix products and passes all its values to a second stage, pre-activations in the caches, and
initial biases in both stages.
"""

from minichar.engine.cell import Cell, Product, Stage
from minichar.formats.gates import TORCH

IN_PYTORCH = list(TORCH)
"""Names of the registered cells that PyTorch implements."""


def first(xp, w, r, c_prev, m_prev):
    p = xp.tanh(w[0] + r[0])
    c = c_prev + w[1] * r[1]
    return p * m_prev, c, m_prev, (w[0], r[0], w[1], r[1], m_prev)


def first_backward(xp, ds, dc, dm, cache):
    w_p, r_p, w_q, r_q, m_prev = cache
    p = xp.tanh(w_p + r_p)
    dp = ds * m_prev * (1.0 - p * p)
    return (dp, dc * r_q), (dp, dc * w_q), dc, dm + ds * p


def second(xp, a, c, m):
    h = xp.tanh(a[0] * c)
    return h, c, 0.5 * m + a[0], (a[0], c, h)


def second_backward(xp, dh, dc, dm, cache):
    a_n, c, h = cache
    d = dh * (1.0 - h * h)
    return (d * c + dm,), dc + d * a_n, 0.5 * dm


ODD = Cell(
    name="odd",
    title="odd cell",
    states="hcm",
    stages=(
        Stage(
            (Product("P", "pq", reads_x=False), Product("R", "uv", reads_state=False)),
            first,
            first_backward,
            cache="a_p a_u a_q a_v m_prev",
        ),
        Stage((Product("Wn", "n"),), second, second_backward, cache="a_n c h"),
    ),
    biases={"q": 2.0, "n": -3.0},
)
