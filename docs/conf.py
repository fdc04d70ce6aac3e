"""Sphinx configuration. Build the site with ``sphinx-build -W docs build/site``.

Reading the site needs no network access. Building it uses the network only for fonts and for the texts of two
models, and leaves them out if there is none. Chapters, notebooks, command pages and API pages are generated
from the source on every build, and figures are redrawn if they are out of date. The generated files are not
committed.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
LESSONS = ROOT / "tests" / "lessons"
sys.path.insert(0, str(HERE))

from figures import draw_if_stale  # noqa: E402
from pages.api import write_api  # noqa: E402
from pages.commands import write_commands  # noqa: E402
from pages.course import kept_output, write_course  # noqa: E402
from pages.fonts import style_sheets  # noqa: E402
from pages.live import write_downloaded, write_live_model  # noqa: E402
from pages.notebooks import write_notebooks  # noqa: E402
from pages.slides import write_slides  # noqa: E402

for name in ("course", "commands", "api", "live", "notebooks"):
    (HERE / name).mkdir(exist_ok=True)
    for old in (HERE / name).glob("*.md"):
        old.unlink()
draw_if_stale()
write_course(LESSONS, ROOT / "minichar", HERE / "course")
write_notebooks(LESSONS, HERE / "notebooks")
write_slides(LESSONS, HERE / "live" / "extra" / "slides", kept_output)
write_commands(HERE / "commands")
write_api(HERE / "api")
write_live_model(LESSONS / "test_18_it_writes.py", HERE / "live")
if write_downloaded(HERE / "live" / "extra"):
    tags.add("downloaded")  # noqa: F821  (defined by Sphinx)

project = "minichar"
author = "The minichar authors"
copyright = author
version = release = version_of("minichar")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "pages.extension",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["figures", "measured", "pages", "static", "templates"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
smartquotes = False
default_role = "code"
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give the types
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries = False

html_theme = "furo"
html_title = "minichar"
html_favicon = "static/favicon.svg"
html_static_path = ["static"]
html_extra_path = ["figures/inside.html", "live/model.html", "live/extra"]
html_css_files = ["minichar.css", "interactive.css", *style_sheets()]
templates_path = ["templates"]
html_js_files = ["minichar.js"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = True  # minichar.js disables search summaries on file:// pages
html_search_scorer = str(HERE / "static" / "scorer.js")
html_use_index = False
html_domain_indices = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_selector = "div.highlight:not(.highlight-text > *) pre"  # text blocks show output
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go, .shell-comment"
pygments_style, pygments_dark_style = "a11y-light", "github-dark"  # the first comes with Furo
