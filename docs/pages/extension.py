"""Sphinx extension for the site: MathML, inline and interactive figures, and docstring fixes."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pages.course import MOVED
from pages.interactive import FOLDER, markup
from pages.terms import directive, options_of_guides

VALUES = ("data", "attribute", "property")
SHORT = 24
"""Maximum length of inline code kept on one line, so that it fits in a table cell on a phone."""
SEVERAL = re.compile(r"^(\w+(?:, \w+)+) : (.+)$", re.MULTILINE)
MEASURED = re.compile(r"\]\((?:\.\./)*(measured/[\w/]+\.(?:md|csv))")
LESSONS = re.compile(r"\]\(((?:\.\./)*)\.\./tests/lessons(?:/test_(\w+)\.py)?\)")
HIDDEN = re.compile(r"^<!--(\{[\w-]+\}.*?\n)-->$", re.MULTILINE | re.DOTALL)
"""A directive in an HTML comment, which GitHub hides because it cannot show what the directive inserts."""
REPOSITORY = "https://github.com/minichar/minichar/blob/main/docs"


class Figure(SphinxDirective):
    """A figure whose name is the directive's argument, and whose caption is its content."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the figure node."""
        caption, messages = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        html = self.html(self.arguments[0], "".join(node.astext() for node in caption))
        figure = nodes.figure("", nodes.raw("", html, format="html"), nodes.caption("", "", *caption))
        figure["classes"].append(self.name)
        return [figure, *messages]


class Picture(Figure):
    """A figure from ``docs/figures``, inlined so that it uses the page's colours."""

    def html(self, name: str, caption: str) -> str:
        """Return the figure, with its caption as a label."""
        svg = (Path(self.env.srcdir) / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)  # would appear in search results
        label = re.sub("<[^>]+>", "", caption).replace('"', "&quot;")
        return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


class Interactive(Figure):
    """An interactive figure from ``docs/interactive``."""

    def html(self, name: str, caption: str) -> str:
        """Return the figure. Only the first one of a page includes the shared functions."""
        for path in (FOLDER / "shared.js", FOLDER / f"{name}.js", *(FOLDER / name).glob("*.js")):
            self.env.note_dependency(str(path))
        first = "interactive" not in self.env.temp_data
        self.env.temp_data["interactive"] = True
        return markup(name, shared=first)


def visit_math(translator: Any, node: nodes.math) -> None:
    """Write inline maths as MathML, which browsers render natively."""
    translator.body.append(mathml(node))
    raise nodes.SkipNode


def visit_displaymath(translator: Any, node: nodes.math_block) -> None:
    """Write display maths as MathML."""
    translator.body.append(f'<div class="math">{mathml(node, display="block")}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.Element, **options: str) -> str:
    """Convert TeX to MathML, with a space between ln and its argument."""
    return convert(node.astext(), **options).replace("<mi>ln</mi>", "<mi>ln</mi><mspace width='0.17em' />")


def fix_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """List parameters that share a type one by one, as Napoleon requires."""
    if what in VALUES:
        app.env.temp_data[name] = list(lines)
        return
    lines[:] = SEVERAL.sub(one_by_one, "\n".join(lines)).splitlines()


def one_by_one(match: re.Match[str]) -> str:
    """Return the line of each of several parameters."""
    return "\n".join(f"{name} : {match[2]}" for name in match[1].split(", "))


def restore_value(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Restore a value's docstring, because Napoleon mistakes the text before a colon for a type."""
    if what in VALUES:
        lines[:] = app.env.temp_data.pop(name)


def show_hidden(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace the HTML comment around a directive with a fence that may contain another fence."""
    source[0] = HIDDEN.sub(r"````\1````", source[0])


def link_measurements(app: Sphinx, name: str, source: list[str]) -> None:
    """Link to the repository for pages and data in ``docs/measured``, which are not part of the site."""
    source[0] = MEASURED.sub(rf"]({REPOSITORY}/\1", source[0])


def link_chapters(app: Sphinx, name: str, source: list[str]) -> None:
    """Link to the chapters, which are generated, where a page links to the lessons in the repository."""
    source[0] = LESSONS.sub(lambda link: f"]({link[1]}course/{link[2] or 'index'}.md)", source[0])


def index_options(app: Sphinx, name: str, source: list[str]) -> None:
    """Index the options that a guide explains, below its title, so that the search finds the guide first."""
    folder, _, guide = name.rpartition("/")
    if folder == "howto" and (options := options_of_guides(Path(app.srcdir) / folder).get(guide)):
        title, _, rest = source[0].partition("\n")
        source[0] = f"{title}\n\n{directive(options)}\n{rest}"


def keep_together(app: Sphinx, doctree: nodes.document) -> None:
    """Mark short inline code, such as options, so that it is not broken across lines."""
    for literal in doctree.findall(nodes.literal):
        if len(literal.astext()) <= SHORT:
            literal["classes"].append("short")


def add_dark_images(app: Sphinx, doctree: nodes.document) -> None:
    """Show ``name-dark.png`` instead of ``name.png`` in the dark theme, if both exist."""
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for light in list(doctree.findall(nodes.image)):
        name = Path(light["uri"]).with_stem(f"{Path(light['uri']).stem}-dark")
        if (folder / name).exists():
            dark = light.deepcopy()
            dark["uri"] = str(name)
            light["classes"].append("only-light")
            dark["classes"].append("only-dark")
            light.parent.insert(light.parent.index(light) + 1, dark)


def redirect_chapters(app: Sphinx, exception: Exception | None) -> None:
    """Write a page that redirects to the chapter for each old name of a chapter."""
    for old, new in MOVED.items():
        (Path(app.outdir) / "course" / f"{old}.html").write_text(
            f"<!doctype html><html lang=en><title>Moved</title>"
            f'<meta http-equiv=refresh content="0; url={new}.html">'
            f'<p>This chapter is now <a href="{new}.html">here</a>.</p></html>\n',
            encoding="utf-8",
        )


def shorten_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Remove the role of the sidebar's captions, which are not headings, and the tags of uncoloured code."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(' role="heading"', "")
    body = re.sub(r'<span class="[npw]">([^<]*)</span>', r"\1", context.get("body", ""))
    # An option is not broken between its hyphens. Sphinx makes a span of each word of inline code.
    context["body"] = re.sub(rf'<span class="pre">(?=--[^<]{{,{SHORT}}}<)', '<span class="pre short">', body)


def set_language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the language of the Chinese pages."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def name_the_cpu(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str, returns: Any
) -> Any:
    """Show the default `CPU` by its name, not by its repr."""
    return arguments and re.sub(r"<minichar\.\S+ object[^>]*>", "CPU", arguments), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, the maths renderer and the event handlers."""
    app.add_directive("picture", Picture)
    app.add_directive("interactive", Interactive)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("source-read", show_hidden)
    app.connect("source-read", link_measurements)
    app.connect("source-read", link_chapters)
    app.connect("source-read", index_options)
    app.connect("doctree-read", keep_together)
    app.connect("doctree-read", add_dark_images, priority=400)  # before Sphinx collects the images
    app.connect("build-finished", redirect_chapters)
    app.connect("autodoc-process-docstring", fix_docstring, priority=100)  # before Napoleon
    app.connect("autodoc-process-signature", name_the_cpu)
    app.connect("autodoc-process-docstring", restore_value, priority=900)  # after Napoleon
    app.connect("html-page-context", shorten_page, priority=900)  # after Furo
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True}
