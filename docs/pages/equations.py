"""Typeset the indented blocks in lessons, and the symbols in the surrounding text.

Each block becomes a table. In the source, columns are separated by at least three spaces, and the equations
of a backward pass are indented more deeply than the others. Each table cell is an equation or a comment.
Equations are aligned at signs such as ``=``. Diagrams and plain text are left unchanged.
"""

import re
from html import escape

from pages.maths import NAMES, is_word, mathml

RELATION = re.compile(r"\+=|[=←≈~]")
INDENTED = re.compile(rf" {{5,}}(?!{RELATION.pattern})\S")
DISPLAY = ' displaystyle="true"'
DRAWING = re.compile(r"[│▼▶─]|^[\s\d.e+*-]*\*", re.MULTILINE)
BLOCK = re.compile(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", re.MULTILINE)
VALUE = re.compile(r"-?\d[\d.e+-]*")
MINUS = re.compile(r"(?<![\w-])-(?=\d|log\b)|(?<=\de)-(?=\d)")
PUNCTUATED = re.compile(r"[(\[]*<math>(?:(?!</math>).)*</math>[\])]*[.,;:?]?")
CODE = re.compile(r"`+([^`]+)`+")
LITERAL = re.compile(r"(`+[^`]*`+|\*[^*]+\*)")
GROUP = r"(?:\((?:[^()]|\([^()]*\))*\)|\|[^|\s]+\|)"
SCRIPTS = r"(?:_(?:\{[^}]+\}|[a-zA-Z0-9]+))?[ᵀ²³'⁻ᵃᵏ₁₂]*(?:\^\([^()]+\))?"
LETTER = r"d?W[nx]|d[a-zâELUW]n?|a(?=_|\s*[=∘]| - μ|[,.;)\"])|[b-zâA-Zα-ωΣ…√∛]"
SYMBOL = rf"(?:d?(?:{'|'.join(NAMES)})(?=[_(²]| =)|(?<== )target|θ̄|(?:{LETTER})(?![A-Za-z])){SCRIPTS}"
NUMBER = r"(?:[½¼]|\d+(?:\.\d+)?(?:e-?\d+)?)"
ATOM = rf"(?:(?:{NUMBER} ?(?=[a-zα-ω(]))?{SYMBOL}(?:{GROUP})?|{NUMBER}(?: ?{GROUP})?|{GROUP})"
OPERATOR = r"\s*(?:\+=|[-=←≈≤<>+·∘×@/])\s*-?"
PRODUCT = r"(?<=[a-zα-ω²]) (?=[a-zα-ω(|])"
FORMULA = re.compile(rf"(?<![\w'.*~-]){ATOM}(?:(?:{OPERATOR}|{PRODUCT}|(?=\()){ATOM})*(?![\w*(-]|\.\w)")
LONE = re.compile(r"[AI]|do|\W*\d[\de.\W]*")
"""Matches of `FORMULA` that are not formulas: articles, verbs and numbers."""
ALONE = re.compile(rf"(?<![\w'.*~-]){SYMBOL}(?![\w*(-]|\.\w)")


def typeset(text: str) -> str:
    """Return Markdown with blocks converted to tables and symbols to MathML."""
    parts, start = [], 0
    for match in BLOCK.finditer(text):
        parts += [prose(text[start : match.start()]), table(match[0]) or match[0]]
        start = match.end()
    return "".join([*parts, prose(text[start:])])


def prose(text: str) -> str:
    """Typeset the formulas in running text, except in code and emphasis."""
    parts = LITERAL.split(text)
    parts[::2] = [MINUS.sub("−", FORMULA.sub(formula, part)) for part in parts[::2]]
    # The span prevents a line break between a formula and the punctuation that follows.
    return PUNCTUATED.sub(r'<span class="together">\g<0></span>', "".join(parts))


def formula(match: re.Match[str]) -> str:
    """Convert a formula to MathML, or only its symbols if it contains words."""
    if LONE.fullmatch(match[0]):
        return match[0]
    try:
        html = mathml(match[0], flat=True)  # a fraction would be too small to read
    except ValueError:
        html = "<mtext>"
    if "<mtext>" not in html:
        return html
    before, bracket, after = match[0].partition("(")
    if bracket:  # words in parentheses may contain formulas
        return f"{FORMULA.sub(formula, before)}({FORMULA.sub(formula, after)}"
    return ALONE.sub(lambda symbol: mathml(symbol[0]), match[0])


def table(block: str) -> str | None:
    """Return a block as HTML tables, or None if it contains a diagram or text outside a table.

    Blank lines divide a block into parts. Consecutive parts that contain equations form one table, in which
    the first column of equations is aligned.
    """
    if DRAWING.search(block):
        return None
    tables: list[list[str]] = []
    aligned = False  # whether the last table contains equations
    for part in block.rstrip().split("\n\n"):
        lines = part.splitlines()
        rows = [columns(line) for line in lines]
        equations = any(is_equation(cell) for cells in rows for cell in cells)
        if not equations and (len(rows[0]) == 1 or len({len(cells) for cells in rows}) > 1):
            return None
        equations = equations or len(lines) == 1  # a single line without an equation is a heading
        if equations and aligned:
            tables[-1] += ["", *lines]
        else:
            tables.append(lines)
        aligned = equations
    html = "".join(table_html(lines) for lines in tables)
    return f'<div class="equations">\n{html}</div>\n'


def table_html(lines: list[str]) -> str:
    """Return lines as one HTML table."""
    width = max(len(columns(line)) for line in lines)
    numbers = not any(is_equation(cell) for line in lines for cell in columns(line)) and len(lines) > 1
    headed = not numbers and width > 1 and not any(map(is_equation, columns(lines[0])))
    counts = not re.search(r"\d", lines[0]) and bool(re.search(r"\d", "".join(lines)))
    values = any(VALUE.fullmatch(cell) for line in lines[1:] for cell in columns(line))
    heading = numbers and (counts or values) and not re.search(r"\d\.\d", lines[0])
    html = []
    for i, line in enumerate(lines):
        backward = bool(INDENTED.match(line))
        apart = i > 0 and (not lines[i - 1] or (not backward and bool(INDENTED.match(lines[i - 1]))))
        classes = ["backward"] * backward + ["apart"] * apart
        classes += ["heading"] * (heading and i == 0)
        for cells in separate(columns(line)):
            html.append(f'<tr class="{" ".join(classes)}">{table_row(cells, width)}</tr>\n')
            classes = classes[:1] if "backward" in classes else []
    kind = " class=numbers" * numbers or " class=headed" * headed
    return f"<table{kind}>\n{''.join(html)}</table>\n"


def columns(line: str) -> list[str]:
    """Split a line at three or more spaces, except before a relational operator."""
    cells: list[str] = []
    for cell in re.split(r" {3,}", line.strip()) if line else []:
        if cells and RELATION.match(cell):
            cells[-1] += f" {cell}"
        else:
            cells.append(cell)
    return cells


def is_equation(cell: str) -> bool:
    """Return whether a cell contains a relational operator and does not begin with a word."""
    return bool(RELATION.search(cell)) and not is_word(re.match(r"[A-Za-z]*", cell)[0])


def separate(cells: list[str]) -> list[list[str]]:
    """Split ``a, b = c, d`` into two rows. Comments are put in the first row."""
    if not cells or not is_equation(cells[0]):
        return [cells] * bool(cells)
    equations = []
    for equation in split(cells[0], ";"):
        relation = RELATION.search(equation)
        left, right = split(equation[: relation.start()], ","), split(equation[relation.end() :], ",")
        if len(left) == len(right):
            equations += [f"{a} {relation[0]} {b}" for a, b in zip(left, right, strict=True)]
        else:
            equations.append(equation)
    return [[equations[0], *cells[1:]], *([equation] for equation in equations[1:])]


def split(text: str, sign: str) -> list[str]:
    """Split text at each `sign` that is not inside brackets."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == sign and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def table_row(cells: list[str], width: int) -> str:
    """Return the HTML cells of a row with `width` columns. The first column takes up two HTML cells."""
    html = ""
    for i, cell in enumerate(cells):
        span = (i == 0) + (width - i if i == len(cells) - 1 else 1)
        relation = RELATION.search(cell)
        if is_equation(cell) and i == 0:
            left, right = cell[: relation.start()].strip(), cell[relation.start() :]
            html += f"<td class=left>{mathml(left, DISPLAY)}</td>"
            html += f"<td colspan={span - 1}>{mathml(right, DISPLAY)}</td>"
        elif is_equation(cell):
            html += f"<td colspan={span}>{mathml(cell, DISPLAY)}</td>"
        else:
            text = mathml(cell) if len(cell) == 1 and cell.isalpha() else prose(escape(cell))
            text = CODE.sub(r"<code class=literal>\1</code>", text)  # Markdown inside HTML is not processed
            html += f"<td class=comment colspan={span}>{text}</td>"
    return html
