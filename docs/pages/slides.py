"""Generate slides for lecturers from the lessons: one HTML file per lesson, with the chapter's figures.

A slide shows one figure, one output, or one block of equations below the sentence that introduces it.
Slides snap into view, so Page Down, Space or a remote control advances them, and each is printed on one page.
"""

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from minichar.cli.course import Lesson, read_lesson

from .course import DRAWINGS, page_name, parts
from .equations import BLOCK, prose, typeset
from .interactive import INTERACTIVE, markup

DOCS = Path(__file__).parents[1]
PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{css}
:root {{ --header-height: 0px; --font-stack--monospace: monospace; --color-brand-primary: #0a4bff;
  --color-foreground-primary: black; --color-foreground-secondary: #5a5c63;
  --color-foreground-muted: #6b6f76;
  --color-background-primary: white; --color-background-secondary: #f8f9fb;
  --color-background-border: #ddd; }}
html {{ scroll-snap-type: y mandatory; font: 1.6rem/1.4 system-ui, sans-serif; background: white;
  color: black; }}
body {{ margin: 0; }}
section {{ box-sizing: border-box; min-height: 100vh; padding: 5vmin; scroll-snap-align: start;
  break-after: page; display: flex; flex-direction: column; justify-content: center; align-items: center; }}
section > * {{ max-width: min(60rem, 100%); }}
section > svg {{ width: min(50rem, 100%); height: auto; max-height: 75vh; }}
h1 {{ font-size: 3rem; margin: 0; }}
pre {{ white-space: pre-wrap; }}
</style>
<main>
{slides}
</main>
</html>
"""
SENTENCE = re.compile(r"(?<=[.?!]) +(?=[A-Z*])")
EMPHASIS, CODE = re.compile(r"\*(\w[^*]*)\*"), re.compile(r"`([^`]+)`")
EQUATIONS = re.compile(r"^div\.equations .*\n", re.MULTILINE)
"""The site's rules for equations."""


def write_slides(lessons: Path, folder: Path, output: Callable[[Lesson, str], str]) -> None:
    """Write one deck per lesson."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(lessons.glob("test_*.py")):
        (folder / f"{page_name(path)}.html").write_text(deck(path, output), encoding="utf-8")


def deck(path: Path, output: Callable[[Lesson, str], str]) -> str:
    """Return the slides of a lesson as HTML."""
    lesson = read_lesson(path)
    title = f"{lesson.number}. {lesson.title}"
    slides = [f"<h1>{title}</h1><p>{marked(lesson.summary)}</p>"]
    for kind, part in parts(lesson):
        if kind == "text":
            slides += blocks(part)
        elif kind == "figure":
            slides.append(figure(part, first=not any("<script" in slide for slide in slides)))
        else:
            slides.append(f"<pre>{escape(output(lesson, part))}</pre>")
    slides.append(f"<h2>Exercise</h2><pre>{escape(lesson.exercise)}</pre>")
    css, site = (
        (DOCS / "static" / f"{name}.css").read_text(encoding="utf-8") for name in ("interactive", "minichar")
    )
    css += "".join(EQUATIONS.findall(site))
    sections = "\n".join(f"<section>\n{slide}\n</section>" for slide in slides)
    return PAGE.format(title=title, css=css, slides=sections)


def blocks(text: str) -> list[str]:
    """Return a slide for each indented block: the sentence before it, and the block."""
    slides, start = [], 0
    for match in BLOCK.finditer(text):
        before = " ".join(text[start : match.start()].split())
        words = SENTENCE.split(before)[-1]
        block = typeset(match[0])
        block = block if "<table" in block else f"<pre>{escape(match[0])}</pre>"
        slides.append(f"<p>{marked(words)}</p>\n{block}")
        start = match.end()
    return slides


def marked(words: str) -> str:
    """Return words of a lesson or a caption as HTML, with emphasis, code and typeset symbols."""
    return EMPHASIS.sub(r"<em>\1</em>", CODE.sub(r"<code>\1</code>", prose(escape(words, quote=False))))


def figure(name: str, first: bool) -> str:
    """Return a figure with its caption. Only the first interactive figure needs the shared functions."""
    drawing = name.removesuffix(".svg")
    if name in INTERACTIVE:
        caption = f"<figcaption>{marked(INTERACTIVE[name])}</figcaption>"
        return f'<figure class="interactive">{markup(name, shared=first)}{caption}</figure>'
    svg = (DOCS / "figures" / f"{drawing}.svg").read_text(encoding="utf-8")
    return f"{svg[svg.index('<svg') :]}<p>{marked(DRAWINGS[drawing])}</p>"
