"""The diagram of one LSTM step: the forward pass, and the backward pass along the same lines.

Each equation has a number, and so have the parts of the drawing that show it. Without JavaScript, both
drawings are complete. ``docs/interactive/lstm_step.js`` builds them equation by equation.
"""

import re
from html import escape
from math import atan2, cos, sin

from pages.equations import prose
from pages.maths import mathml

Point = tuple[float, float]

FORWARD = (
    ("a = W @ [h_prev; x; 1]", "One matrix product computes four pre-activations."),
    ("i = σ(a_i)", "The input gate: how much of the candidate is written."),
    ("f = σ(a_f)", "The forget gate: how much of the old content is kept."),
    ("o = σ(a_o)", "The output gate: how much of the content is output."),
    ("g = tanh(a_g)", "The candidate: the new content, between −1 and 1."),
    ("c = f ∘ c_prev + i ∘ g", "The cell state, the memory: a sum of what is kept and what is written."),
    ("h = o ∘ tanh(c)", "The hidden state, the output, for the layer above and for the next step."),
)
BACKWARD = (
    ("do = dh ∘ tanh(c)", "Back through the last line first: the other factor is tanh(c)."),
    (
        "dc ← dc + dh ∘ o ∘ (1 - tanh(c) ∘ tanh(c))",
        "c has two uses, so its gradient is a sum. The dc on the right is from the next step.",
    ),
    (
        "df = dc ∘ c_prev ; dc_prev = dc ∘ f",
        "The path along the cell state: a product with f, and no matrix.",
    ),
    ("di = dc ∘ g ; dg = dc ∘ i", "In a product, each factor receives dc times the other factor."),
    ("da_i = di ∘ i ∘ (1 - i) ; da_f = df ∘ f ∘ (1 - f) ; da_o = do ∘ o ∘ (1 - o)", "Through the sigmoids."),
    ("da_g = dg ∘ (1 - g ∘ g)", "Through the tanh."),
    ("dh_prev = W_hᵀ @ da ; dx = W_xᵀ @ da", "Through the matrix product."),
)
"""Equations of the two passes, with a remark on each. A semicolon separates equations."""

GATES = {"i": 60.0, "f": 120.0, "o": 230.0, "g": 290.0}
"""The gates, in the order of the equations, and the x-coordinate of each."""
SUM, LAST = 175.0, 345.0  # the x-coordinates of the sum and of tanh(c)
STATE, PRODUCT, TANH, OUTPUT, GATE, MATRIX = 42.0, 92.0, 86.0, 130.0, 195.0, 252.0
"""The y-coordinates, from the cell state to the matrix product."""
LEFT, RIGHT = 38.0, 388.0


class Drawing:
    """An SVG drawing whose parts belong to numbered equations."""

    def __init__(self, label: str) -> None:
        self.label, self.parts = label, {}

    def add(self, step: int, svg: str) -> None:
        """Add an element to the part of an equation."""
        self.parts[step] = self.parts.get(step, "") + svg

    def wire(self, step: int, style: str, *points: Point, head: bool = True) -> None:
        """Draw a line through the points, with an arrowhead at its end."""
        (x1, y1), (x2, y2) = points[-2:]
        angle = atan2(y2 - y1, x2 - x1)
        corners = [
            (x2 - r * cos(angle + turn), y2 - r * sin(angle + turn)) for r, turn in ((8, 0.45), (8, -0.45))
        ]
        line = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.add(step, f'<polyline class="line {style}" points="{line}"/>')
        if head:
            tip = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x2, y2), *corners])
            self.add(step, f'<polygon class="head {style}" points="{tip}"/>')

    def cross(self, step: int, x: float, y: float) -> None:
        """Leave a gap in a vertical line where a horizontal line crosses it."""
        self.add(step, f'<path class="gap" d="M{x:g},{y - 5:g}v10"/>')

    def text(self, step: int, x: float, y: float, words: str, style: str = "") -> None:
        """Draw text whose underscores begin subscripts."""
        shown = re.sub(
            "_([a-z]+)", r'<tspan class="sub" dy="3">\1</tspan><tspan dy="-3">&#8203;</tspan>', escape(words)
        )
        self.add(step, f'<text class="{style}" x="{x:g}" y="{y:g}">{shown}</text>')

    def box(self, step: int, x: float, y: float, words: str, width: float = 40) -> None:
        """Draw a function as a box."""
        self.add(
            step,
            f'<rect class="box" x="{x - width / 2:g}" y="{y - 12:g}" width="{width:g}" height="24" rx="3"/>',
        )
        self.text(step, x, y + 4, words)

    def dot(self, step: int, x: float, y: float, sign: str) -> None:
        """Draw an operation as a circle around its sign."""
        style = "sum" if sign == "+" else ""
        self.add(step, f'<circle class="box {style}" cx="{x:g}" cy="{y:g}" r="9"/>')
        self.text(step, x, y + 4, sign, style)

    def svg(self) -> str:
        """Return the SVG element."""
        groups = "".join(f'<g data-step="{step}">{svg}</g>' for step, svg in sorted(self.parts.items()))
        return f'<svg viewBox="-8 20 420 292" role="img" aria-label="{escape(self.label)}">{groups}</svg>'


def forward() -> str:
    """Return the drawing of the forward pass. Values are blue, and states are green."""
    drawing = Drawing(
        "The forward pass of an LSTM step: four gates from one matrix product, and the cell state above"
    )
    wire, box, dot, text = drawing.wire, drawing.box, drawing.dot, drawing.text
    text(1, -7, MATRIX + 4, "h_prev", "state start")
    wire(1, "state", (LEFT, MATRIX), (50, MATRIX))
    text(1, SUM, 306, "x", "forward")
    wire(1, "forward", (SUM, 292), (SUM, MATRIX + 13))
    box(1, SUM, MATRIX, "W @ [h_prev; x; 1]", width=250)
    for step, (gate, x) in enumerate(GATES.items(), 2):
        wire(1, "forward", (x, MATRIX - 12), (x, GATE + 13))
        text(1, x + 4, GATE + 32, f"a_{gate}", "small forward start")
        box(step, x, GATE, "tanh" if gate == "g" else "σ")
        text(step, x + 4, GATE - 20, gate, "forward start")
    i, f, o, g = GATES.values()
    for step, x, top in (
        (2, i, PRODUCT),
        (3, f, STATE + 10),
        (4, o, OUTPUT),
        (5, g, PRODUCT),
    ):  # to where it is used
        wire(step, "forward", (x, GATE - 12), (x, top), head=step == 3)
    drawing.cross(6, f, PRODUCT)
    wire(6, "forward", (i, PRODUCT), (SUM - 10, PRODUCT))
    wire(6, "forward", (g, PRODUCT), (SUM + 10, PRODUCT))
    wire(6, "forward", (SUM, PRODUCT - 9), (SUM, STATE + 10))
    text(6, -7, STATE + 4, "c_prev", "state start")
    wire(6, "state", (LEFT, STATE), (f - 10, STATE))
    wire(6, "state", (f + 9, STATE), (SUM - 10, STATE))
    wire(6, "state", (SUM + 9, STATE), (RIGHT, STATE))
    for x, y, sign in ((SUM, PRODUCT, "∘"), (f, STATE, "∘"), (SUM, STATE, "+")):
        dot(6, x, y, sign)
    text(6, 392, STATE + 4, "c", "state start")
    wire(7, "state", (LAST, STATE), (LAST, TANH - 13))
    drawing.cross(7, g, OUTPUT)
    wire(7, "forward", (o, OUTPUT), (LAST - 10, OUTPUT))
    wire(7, "forward", (LAST, TANH + 12), (LAST, OUTPUT - 10))
    box(7, LAST, TANH, "tanh")
    wire(7, "state", (LAST + 9, OUTPUT), (RIGHT, OUTPUT))
    dot(7, LAST, OUTPUT, "∘")
    text(7, 392, OUTPUT + 4, "h", "state start")
    return drawing.svg()


def backward() -> str:
    """Return the drawing of the backward pass, in which gradients run along the lines of the forward pass.

    Its names are beside those of the forward pass, which stay in grey when the drawings are overlaid.
    """
    drawing = Drawing("The backward pass of an LSTM step: the same lines, run backwards by the gradients")
    wire, box, dot, text = drawing.wire, drawing.box, drawing.dot, drawing.text
    i, f, o, g = GATES.values()
    style, small = "backward", "small backward"
    text(8, 392, OUTPUT - 10, "dh", f"{style} start")
    wire(8, style, (RIGHT, OUTPUT), (LAST + 10, OUTPUT))
    wire(8, style, (LAST - 9, OUTPUT), (o, OUTPUT), (o, GATE - 13))
    dot(8, LAST, OUTPUT, "∘")
    text(8, o - 4, GATE - 20, "do", f"{style} end")
    text(9, 408, STATE - 12, "dc from the next step", f"{style} end")
    wire(9, style, (RIGHT, STATE), (LAST + 10, STATE))
    wire(9, style, (LAST, OUTPUT - 9), (LAST, TANH + 13))
    wire(9, style, (LAST, TANH - 12), (LAST, STATE + 10))
    box(9, LAST, TANH, "tanh′")
    dot(9, LAST, STATE, "+")
    wire(9, style, (LAST - 9, STATE), (SUM, STATE), head=False)
    text(9, 215, STATE - 8, "dc", style)
    wire(10, style, (SUM, STATE), (f + 10, STATE))
    wire(10, style, (f - 9, STATE), (LEFT, STATE))
    wire(10, style, (f, STATE + 9), (f, GATE - 13))
    dot(10, f, STATE, "∘")
    text(10, -7, STATE - 12, "dc_prev", f"{style} start")
    text(10, f - 4, GATE - 20, "df", f"{style} end")
    wire(11, style, (SUM, STATE), (SUM, PRODUCT - 10))
    drawing.cross(11, f, PRODUCT)
    drawing.cross(11, g, OUTPUT)
    wire(11, style, (SUM - 9, PRODUCT), (i, PRODUCT), (i, GATE - 13))
    wire(11, style, (SUM + 9, PRODUCT), (g, PRODUCT), (g, GATE - 13))
    dot(11, SUM, PRODUCT, "∘")
    text(11, i - 4, GATE - 20, "di", f"{style} end")
    text(11, g - 4, GATE - 20, "dg", f"{style} end")
    for gate, x in GATES.items():
        step = 13 if gate == "g" else 12
        box(step, x, GATE, "tanh′" if gate == "g" else "σ′")
        wire(step, style, (x, GATE + 12), (x, MATRIX - 13))
        text(step, x - 4, GATE + 32, f"da_{gate}", f"{small} end")
    box(14, SUM, MATRIX, "Wᵀ @ da", width=250)
    wire(14, style, (50, MATRIX), (LEFT, MATRIX))
    text(14, -7, MATRIX + 20, "dh_prev", f"{style} start")
    wire(14, style, (SUM, MATRIX + 12), (SUM, 290))
    text(14, SUM - 10, 306, "dx", f"{style} end")
    return drawing.svg()


def equations(rows: tuple[tuple[str, str], ...], first: int, style: str) -> str:
    """Return the list of a pass's equations, numbered from `first`."""
    items = []
    for step, (equation, remark) in enumerate(rows, first):
        lines = "<br>".join(mathml(line) for line in equation.split(" ; "))
        items.append(
            f'<li data-step="{step}"><span class="{style}">{lines}</span> <small>{prose(remark)}</small></li>'
        )
    return f'<ol start="{first}">{"".join(items)}</ol>'


def diagram() -> str:
    """Return both drawings with their equations."""
    last = len(FORWARD)
    passes = ((forward, FORWARD, 1, "forward"), (backward, BACKWARD, last + 1, "backward"))
    return "".join(
        f'<div class="pass"><div class="drawing">{draw()}</div>{equations(rows, first, style)}</div>'
        for draw, rows, first, style in passes
    )
