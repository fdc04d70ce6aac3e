"""Captions and markup for the interactive figures.

A figure consists of ``docs/interactive/NAME.js``, the shared functions in ``shared.js`` and, if it runs a
worker, the scripts in ``docs/interactive/NAME/``. All scripts are inlined, because browsers do not load
modules and workers from file:// URLs.
"""

import re
from pathlib import Path

from pages.lstm_step import diagram

FOLDER = Path(__file__).parents[1] / "interactive"

INTERACTIVE = {
    "one_weight": "Drag w. Values are computed from left to right (blue), and gradients from right to left "
    "(orange). dw is the slope of the loss curve. As you take steps, w approaches the minimum, and dw "
    "approaches 0.",
    "gradient_check": "Make h smaller. At first, more and more digits are correct (bold). Below about 1e-6, "
    "f(w + h) and f(w - h) share so many digits (grey) that too few remain for their difference. Drag w: the "
    "curve is always V-shaped, but the best h changes.",
    "tanh_and_sigmoid": "Drag a. The slope of the line is the local derivative (orange), which depends only "
    "on the function's value. Far from 0, the unit is saturated, and the gradient almost vanishes.",
    "complex_step": "Make h smaller. The real part approaches the loss, 0.0236, and the imaginary part "
    "approaches h times the derivative. No digits cancel, so for h of 1e-8 and smaller, the error stays "
    "below 1e-15. Errors below 1e-16 are drawn at 1e-16, and errors above 1 at 1.",
    "softmax_cross_entropy": "Drag the logits. A step of gradient descent on the logits raises the "
    "target's logit and lowers each of the others in proportion to its probability. The logits are "
    "divided by the temperature, and dlogits is the gradient with respect to the result. A low temperature "
    "makes the distribution sharper, and a high one makes it flatter.",
    "linear_layer": "Select an element of dW with the sliders, or click it. Each element is the dot product "
    "of a row of da and a row of s, with one term for each sequence in the batch. The elements of dx and a "
    "are also dot products. The last row of s is 1, so the last column of W is the bias.",
    "rnn_step": "Drag h_prev, x and dh. Values are passed forward (blue), and gradients are passed backward "
    "along the same paths (orange). Drag x to either end: h saturates, so 1 - h² and the gradients are "
    "almost 0.",
    "through_time": "Press Next repeatedly. The first three steps compute the states from left to right, and "
    "the next three compute the gradients from right to left. Each dh_t is the sum of two gradients: "
    "dL_t/dh_t, which is given, from the loss at step t, and one from the next step. The numbers are "
    "from the worked example.",
    "truncation": "The area of each dot shows one term of dw_h: the effect of w_h at step s (column) on the "
    "loss at step t (row). Drag T: terms that cross a chunk boundary are dropped. With a small w_h, these "
    "terms hardly matter. They matter most near w_h = 0.8; with a larger w_h, the unit saturates.",
    "vanishing_and_exploding": "Scale the recurrent weights of an RNN with 16 units. Small weights make the "
    "gradient vanish, and large ones make it explode, but less than in the table of lesson 10, because "
    "larger inputs saturate tanh. The second plot shows the loss of one unit, h_t = "
    "tanh(w h_{t-1} + b), after 20 steps: the stronger the grey, the larger the loss. The point is on a "
    "cliff between two flat regions. One step of gradient descent (η = 0.3) leaves the plot and ends where "
    "the gradient is 0. Clip the gradient: the step stays inside the circle (by norm) or the square (by "
    "element). Only clipping by norm keeps the direction. Drag w and b: neither method changes a short "
    "gradient.",
    "lstm_step": "Scroll, or press Next. The step is built equation by equation, and then run backwards: the "
    "gradients run along the same lines. Point at an equation or at a part of the drawing to see where they "
    "meet. Values are blue, states are green, and gradients are orange.",
    "lstm": "The first step writes 1 to the cell state, whatever a_i is. Drag a_f: the forget gate "
    "determines how much of this value remains at step 50, and how much of the gradient of c_50 reaches "
    "the first step. Then open the input gate with a_i: later steps add i g to the cell state, with made-up "
    "candidates g between -1 and 1, but the gradient stays the same.",
    "gru": "Drag a_z. The update gate interpolates between n and h_prev to give h, and it splits the "
    "gradient in the same proportion. Drag a_r to the left: the reset gate closes, and the candidate no "
    "longer depends on h_prev. Here, only the candidate reads h_prev: U_h is 1.5 in row n and 0 in rows r "
    "and z, and a_n is -1.",
    "dropout": "Draw several masks. Where the mask is 0, y and dh are both 0. Elsewhere, both are scaled by "
    "the same factor. The dots show the mean of y over all masks so far, which approaches h.",
    "scheduled_sampling": "Each dot is a random number. If it is below the ratio, the network reads the "
    "character from the text (blue); otherwise, it reads its own prediction (purple). Lower the ratio: one "
    "wrong prediction leads to another, because each depends on the character read before it.",
    "train": "Press Train: an LSTM with 64 units, the network of lesson 11, reads 20,000 characters of this "
    "documentation again and again until you press Pause, and its sample changes from noise to words. On "
    "these characters, not on new text, its loss falls from the uniform model's to below a bigram model's, "
    "both defined below. The lessons use a different text, so these losses differ from those below. Lesson "
    "18 explains the settings.",
    "rmsprop": "Increase η: gradient descent diverges above 0.02. Decrease η: gradient descent makes "
    "hardly any progress in the flat direction. RMSprop moves at the same speed in both directions. Increase "
    "the number of steps: RMSprop reaches the minimum but does not stay there.",
}
"""Captions, keyed by name. The figure of a lesson has the lesson's name. A caption suggests what to try and
what to look for.

`pages.equations` typesets the formulas.
"""

WORKERS = {"train": ("network", "training")}
"""Scripts that a figure runs in a worker, from ``docs/interactive/NAME/``."""

SENTENCES = re.compile(r"[A-Z][A-Za-z0-9 .,:;()'\"?!-]{60,}\.")
"""A paragraph of plain prose."""

BODIES = {"lstm_step": diagram()}
"""Content of figures that are also complete without JavaScript."""

MARKUP = """\
<div class="stage" id="interactive-{name}">{body}</div>
{scripts}
"""
NEEDS = "<noscript><p>This figure is interactive and requires JavaScript.</p></noscript>"


def markup(name: str, shared: bool = True) -> str:
    """Return the HTML for a figure, without its caption. Only the first figure of a page needs `shared`."""
    scripts = [script(FOLDER / "shared.js", 'id="script-shared"')] if shared else []
    for stem in WORKERS.get(name, ()):
        scripts.append(script(FOLDER / name / f"{stem}.js", f'id="script-{stem}"'))
    if name == "train":
        scripts.append(f'<script type="text/plain" id="script-text">\n{docs_text()}\n</script>')
    scripts.append(script(FOLDER / f"{name}.js", 'type="module"'))
    if name not in BODIES:
        scripts.insert(0, NEEDS)
    return MARKUP.format(name=name, body=BODIES.get(name, ""), scripts="\n".join(scripts))


def script(path: Path, attributes: str) -> str:
    """Return a script element with the content of a file."""
    return f"<script {attributes}>\n{path.read_text(encoding='utf-8')}</script>"


def docs_text(size: int = 20_000) -> str:
    """Return at most `size` characters of plain prose from the documentation, on which readers train."""
    docs = Path(__file__).parents[1]
    found = []
    for page in sorted([*docs.glob("*.md"), *docs.glob("howto/*.md")]):
        text = re.sub("^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for paragraph in text.split("\n\n"):
            line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            found += [line] if SENTENCES.fullmatch(line := re.sub("[`*]", "", line)) else []
    return "\n\n".join(found)[:size]
