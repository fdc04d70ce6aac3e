"""Test the typesetting of the plain-text equations in lessons and docstrings."""

import ast
import re
from pathlib import Path

import pytest
from pages import equations, maths

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "tests" / "lessons").glob("test_*.py"))
RELATION = re.compile(r"[=←≈]")


def plain(mathml):
    """Return MathML in a short form: ``frac(a)(b)``, ``x_(i)`` and ``x^(2)``."""
    scripts = {
        "msub": "_",
        "msup": "^",
        "munder": "_",
        "msubsup": "_^",
        "mfrac": "frac",
        "msqrt": "√",
        "mroot": "∛",
    }
    pieces = []
    for tag in re.findall(r"<[^>]+>|[^<]+", mathml):
        closing, name = re.match(r"</?", tag), re.sub(r"[</>]| .*", "", tag)
        if not closing:
            pieces.append(tag)
        elif name in scripts or name == "mrow":
            pieces.append(")" if tag.startswith("</") else f"{scripts.get(name, '')}(")
        elif name == "mspace" and not tag.startswith("</"):
            pieces.append(" ")
    return "".join(pieces)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("dh_prev = W_hᵀ @ da", "_((dh)prev)=_^(Wh⊤) (da)"),
        ("h²/2 f''", "frac(^(h2)2) (f′′)"),
        ("â dâ_k", "(a^) d_((a^)k)"),
        ("ε|f| / h + 1", "frac((ε(|f|))h)+1"),
        ("∛(2 b) + √(1 - a)", "∛((2 b)3)+√((1−a))"),
        ("a - b c / (d + √m)", "a−frac((b c)(d+√(m)))"),
        ("(a + b) / 2", "frac((a+b)2)"),
        ("dL_t/dh_t · w", "frac(_((dL)t)_((dh)t))·w"),
        ("e^(-a/2)", "^(e(−a/2))"),
        ("h_{t-1} θ₁²", "_(h(t−1)) _^(θ12)"),
        ("Σ_{s≤t} x", "_(∑(s≤t)) x"),
        ("mask = 0 with p, else 1 / 2", "mask=0 with p,else frac(12)"),
        ("dlogits = onehot(k)", "(dlogits)=onehot((k))"),
        ("η/√(1 - αᵏ)", "frac(η√((1−^(αk))))"),
        ("p_j' = tanh_c", "(_(pj)′)=(tanh((c)))"),
        ("p(x | h) = |a| / 2", "p((x|h))=frac((|a|)2)"),
        ("min(1, limit / ‖g‖)", "min((1,frac(limit(‖g‖))))"),
    ],
)
def test_formulas(formula, expected):
    assert plain(maths.mathml(formula)) == expected


@pytest.mark.parametrize("formula", ["a = (b", "a = b)", "a /", "£"])
def test_anything_else_is_an_error(formula):
    with pytest.raises(ValueError, match=r"unexpected|closed|notation"):
        maths.mathml(formula)


def rows(html):
    """Return the classes and the cell text of each table row."""
    found = []
    for classes, cells in re.findall(r'<tr class="(.*?)">(.*?)</tr>', html):
        parts = re.findall(r"<td[^>]*>(.*?)</td>", cells)
        found.append((classes, [re.sub(r"<[^>]+>", "", part) for part in parts]))
    return found


def test_a_block_becomes_a_table_with_the_backward_pass_under_its_equation():
    block = """\
    c = f ∘ d + g            a < b, and x_1
        df, dd = dc ∘ d, dc ∘ f

    i, o = σ(a), tanh(b);  s   = [h; x]
"""
    assert rows(equations.table(block)) == [
        ("", ["c", "=f∘d+g", "a &lt; b, and x1"]),
        ("backward", ["df", "=dc∘d"]),
        ("backward", ["dd", "=dc∘f"]),
        ("apart", ["i", "=σ(a)"]),
        ("", ["o", "=tanh(b)"]),
        ("", ["s", "=[h;x]"]),
    ]


def test_the_next_step_of_a_backward_pass_is_set_apart():
    html = equations.table("    a = b\n        db = da\n        dc = da\n    e = f\n        df = de\n")
    assert [classes for classes, _ in rows(html)] == ["", "backward", "backward", "apart", "backward"]


def test_a_continued_equation_is_aligned_and_not_part_of_the_backward_pass():
    html = equations.table("    s = x\n      = y\n        = z\n")
    assert rows(html) == [("", ["s", "=x"]), ("", ["", "=y"]), ("", ["", "=z"])]


def test_the_cells_of_a_row_fill_the_width_of_the_table():
    html = equations.table("    a = b    c = d\n    a = b\n    e = f    words\n    steps\n")
    spans = [re.findall(r"colspan=(\d)", line) for line in html.splitlines() if "<td" in line]
    assert spans == [["1", "1"], ["2"], ["1", "1"], ["3"]]


def test_a_table_of_numbers_is_not_aligned_with_the_equations_after_it():
    html = equations.table("    gate   w   x\n    i    1   2\n    f    3   4\n\n    c = d\n\n    e = f\n")
    assert [len(rows(part)) for part in html.split("</table>")] == [3, 2, 0]
    assert html.count("<table class=numbers>") == html.count("<table>") == html.count("heading") == 1
    assert "<math><mi>w</mi></math></td>" in html
    heading = equations.table("    forward   backward\n\n    a = b   c = d\n")
    assert [len(rows(part)) for part in heading.split("</table>")] == [2, 0]
    assert heading.count("<table class=headed>") == heading.count("<table") == 1
    assert "heading" not in equations.table("    state   kept\n    gradient   dropped\n")
    assert "heading" not in equations.table("    forward   lesson 5\n    backward   lesson 8\n")
    assert equations.table("    after   next\n    `s`   `e` 2\n").count("heading") == 1
    assert "heading" not in equations.table("    a - μ   0.5   2.0\n    â   1.5   3.0\n")


def test_code_in_a_comment_is_shown_as_code():
    html = equations.table("    a = b    in ``(H, B)`` and `x_t`\n")
    assert "in <code class=literal>(H, B)</code> and <code class=literal>x_t</code></td>" in html


def test_drawings_and_code_are_not_equations():
    for block in ("    h_0 ──▶ h_1 = 2\n", "    1e-01      *\n", "    print the text\n"):
        assert equations.table(block) is None


def test_symbols_in_the_text_are_typeset_except_in_code_and_words():
    text = """\
A state h_prev, a V-shape, e.g. dW or `dh_t`: do it in *h* for x (in 2014), not in a file_name. I read
T(T + 1)/2 of 3 lessons (lesson 7 T times), where a = 0 and w_h (1 - h²) < 1, and/or 1 - y. It is dL_T/dh_T
if j = target, or ε|f| / h, not a, with target = 1 - tanh²(a), e^(a/2) and Wx @ onehot(k), â, dâ,
from -1 to 1e-2.
"""
    found = re.findall(r"<math>(.*?)</math>", equations.typeset(text))
    assert [re.sub(r"<[^>]+>", "", one) for one in found] == [
        *("hprev", "dW", "x", "T(T+1)/2", "T", "a=0", "wh(1−h2)&lt;1", "1−y"),
        *("dLT/dhT", "j=target", "ε|f|/h", "a", "target=1−tanh2(a)", "ea/2", "Wxonehot(k)"),
        *("a^", "da^"),
    ]
    assert equations.typeset(text).endswith("from −1 to 1e−2.\n")


def test_formulas_in_parentheses_with_words_are_typeset():
    html = equations.typeset("A product x (for n = 1, it is c(h) = U_hᵀ @ du) and a loss of -log 0.4.\n")
    assert [re.sub(r"<[^>]+>", "", one) for one in re.findall(r"<math>(.*?)</math>", html)] == [
        *("x", "n=1", "c(h)=Uh⊤du"),
    ]
    assert html.endswith("and a loss of −log 0.4.\n")


def test_parentheses_around_a_fraction_are_as_high_as_the_fraction():
    high, low = (maths.mathml(formula) for formula in ("(1 / 2) x", "(1 - 2) x"))
    assert "stretchy" not in high
    assert low.count('stretchy="false"') == 2


def test_no_line_is_broken_between_a_formula_and_its_punctuation():
    html = equations.typeset("With `x` (the input b), c.\n")
    spans = re.findall(r'<span class="together">(.*?)</span>', html)
    assert [re.sub(r"<[^>]+>", "", span) for span in spans] == ["b),", "c."]


@pytest.mark.parametrize(
    ("lesson", "cell"),
    [("07_rnn_step", "rnn"), ("11_lstm", "lstm"), ("12_gru", "gru"), ("12_gru", "gru_reset_before")],
)
def test_a_lesson_and_its_cell_have_the_same_lines_in_the_same_order(lesson, cell):
    """Compare the equations in the cell's docstring, and the lines of its backward pass, with the lesson."""
    story = ast.get_docstring(ast.parse((LESSONS[0].parent / f"test_{lesson}.py").read_text("utf-8")))
    first, _, second = story.partition("applied before")
    section = second if cell == "gru_reset_before" else first
    taught = [statement(line) for line in section.splitlines()]
    module = ast.parse(source := (ROOT / "minichar" / "engine" / f"{cell}.py").read_text("utf-8"))
    parts = [[line for line in ast.get_docstring(module).splitlines() if line.startswith("    ")]]
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and function.name.endswith("backward"):
            lines = ast.get_source_segment(source, function).splitlines()
            parts.append([line for line in lines if re.match(r" {4}(# )?\S.* = (?!cache)", line)])
    assert len(parts) > 1
    for part in parts:
        assert len(part) > 1
        rest = iter(taught)
        for line in part:
            assert statement(line) in rest, line


def statement(line):
    """Return an equation in the lessons' spelling, without the words after it."""
    equation = re.split(" {3,}", line.strip().removeprefix("# "))[0]
    return equation.replace(" * ", " ∘ ").replace("1.0", "1").replace("←", "=")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem.removeprefix("test_"))
def test_every_equation_of_the_course_is_typeset(path):
    story = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    for block in equations.BLOCK.finditer(story):
        if equations.DRAWING.search(block[0]):
            assert not RELATION.search(block[0])  # an equation next to a drawing would not be typeset
        else:
            html = equations.table(block[0])
            assert html
            lines = [
                line for line in block[0].splitlines() if RELATION.search(equations.columns(line or " ")[0])
            ]
            assert html.count("class=left") >= len(lines)
