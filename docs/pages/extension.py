"""The extension that the site's configuration loads: MathML, figures, and what docstrings need."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

VALUES = ("data", "attribute", "property")
SHORT = 24
"""Characters of code that fit a line of a phone's table."""
LETTER = re.compile(r"^(\s*)([A-Za-z])\.(?=\s|$)")
SEVERAL = re.compile(r"(\w+(?:, \w+)+) : (.+)")
SECTION = re.compile(r"-{3,}\s*")


class Picture(SphinxDirective):
    """A figure of ``docs/figures``, put into the page so that its ink follows the page's colours.

    ``{picture} NAME`` with the caption as content.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the figure."""
        svg = (Path(self.env.srcdir) / "figures" / f"{self.arguments[0]}.svg").read_text(encoding="utf-8")
        caption, messages = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        label = nodes.Text("".join(node.astext() for node in caption)).replace('"', "&quot;")
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        figure = nodes.figure("", nodes.raw("", svg, format="html"), nodes.caption("", "", *caption))
        figure["classes"].append("picture")
        return [figure, *messages]


def visit_math(translator: Any, node: nodes.math) -> None:
    """Write maths as MathML, which browsers draw themselves."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_displaymath(translator: Any, node: nodes.math_block) -> None:
    """Write a line of maths of its own."""
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def mend_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep indented equations as they stand; leave out what a module says, which its page shows."""
    if what == "module":
        lines.clear()
        return
    if what in VALUES:
        app.env.temp_data[name] = list(lines)
        return
    header, sections = split_sections(lines)
    mended: list[str] = []
    for line in header:
        begins = line.startswith("    ") and mended and not mended[-1].strip()
        within = len(mended) > 1 and mended[-2].startswith("    ")
        if begins and not within and not any(before.endswith("::") for before in mended[-2:]):
            mended += ["::", ""]
        mended.append(line)
    for line in sections:
        several = SEVERAL.fullmatch(line)
        mended += [f"{name} : {several[2]}" for name in several[1].split(", ")] if several else [line]
    # "V." alone would begin a list, numbered in Roman.
    lines[:] = [LETTER.sub(r"\1\\\2.", line) for line in mended]


def keep_words(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Undo what was read into the docstring of a value: that the words before a colon are its type."""
    if what in VALUES:
        lines[:] = app.env.temp_data.pop(name)


def split_sections(lines: list[str]) -> tuple[list[str], list[str]]:
    """Split a docstring where its first section, such as Parameters, begins."""
    rules = [i for i, line in enumerate(lines) if SECTION.fullmatch(line)]
    begin = rules[0] - 1 if rules else len(lines)
    return lines[:begin], lines[begin:]


def keep_together(app: Sphinx, doctree: nodes.document) -> None:
    """Mark options and short code, so that no line ends within them."""
    for literal in doctree.findall(nodes.literal):
        if len(literal.astext()) <= SHORT:
            literal["classes"].append("short")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register them."""
    app.add_directive("picture", Picture)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("doctree-read", keep_together)
    app.connect("autodoc-process-docstring", mend_docstring, priority=100)  # before NumPy's sections are read
    app.connect("autodoc-process-docstring", keep_words, priority=900)  # and after
    return {"parallel_read_safe": True}
