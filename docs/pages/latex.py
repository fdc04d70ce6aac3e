"""Convert the MathML of `pages.maths` to LaTeX, which notebooks render."""

import re
from xml.etree import ElementTree

LETTERS = {
    "α": r"\alpha ",
    "ε": r"\varepsilon ",
    "η": r"\eta ",
    "θ": r"\theta ",
    "μ": r"\mu ",
    "σ": r"\sigma ",
    "τ": r"\tau ",
    "…": r"\dots ",
    "½": r"\tfrac{1}{2}",
    "¼": r"\tfrac{1}{4}",
}
SIGNS = {
    "∑": r"\sum ",
    "∘": r"\circ ",
    "·": r"\cdot ",
    "×": r"\times ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≈": r"\approx ",
    "←": r"\leftarrow ",
    "∼": r"\sim ",
    "−": "-",
    "‖": r"\Vert ",
    "′": "'",
    "′′": "''",
    "′′′": "'''",
    "⊤": r"\top ",
}
FORMS = {
    "msub": "{{{}}}_{{{}}}",
    "mover": r"\hat{{{0}}}",
    "munder": "{}_{{{}}}",
    "msup": "{{{}}}^{{{}}}",
    "msubsup": "{{{}}}_{{{}}}^{{{}}}",
    "mfrac": r"\frac{{{}}}{{{}}}",
    "msqrt": r"\sqrt{{{}}}",
    "mroot": r"\sqrt[{1}]{{{0}}}",
}
MATH = re.compile(r"<math[^>]*>(.*?)</math>", re.DOTALL)
TOGETHER = re.compile(r'<span class="together">(.*?)</span>')


def with_latex(html: str) -> str:
    """Replace each ``math`` element with LaTeX between dollar signs."""
    found = MATH.sub(lambda match: match[1] and f"${latex(ElementTree.fromstring(match[0])).strip()}$", html)
    return TOGETHER.sub(r"\1", found)


def latex(element: ElementTree.Element) -> str:
    """Return the LaTeX for an element of MathML."""
    text = element.text or ""
    if element.tag in ("mi", "mn"):
        plain = len(text) == 1 or element.tag == "mn"
        text = text.replace("−", "-")
        return LETTERS.get(text) or (text if plain else rf"\mathrm{{{text}}}")
    if element.tag == "mo":
        return SIGNS.get(text, rf"\{text}" if text in ("{", "}") else text)
    if element.tag == "mtext":
        return rf"\text{{ {text} }}"
    if element.tag == "mspace":
        return r"\,"
    parts = [latex(child) for child in element]
    return FORMS[element.tag].format(*parts) if element.tag in FORMS else "".join(parts)
