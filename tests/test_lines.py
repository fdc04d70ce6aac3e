"""Test how ``.ci/lines.py`` counts code lines."""

from pathlib import Path
from runpy import run_path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "lines.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="an sdist does not contain .ci")
PYTHON = '''"""A module.

Two paragraphs.
"""

import os  # counts once

LIMIT = (
    # does not count
    1,
)
"""What an attribute is."""
TEXT = """counts

twice and once blank"""


def f():
    """A docstring."""
    return "not a docstring"
'''
OTHER = """/* A comment
   of two lines */
// another
<!-- and
   another -->
a = 1; // counts

b = "/*";
"""


def test_comments_docstrings_and_blank_lines_are_free():
    functions = run_path(str(SCRIPT))
    assert functions["python_lines"](PYTHON) == 1 + 3 + 3 + 2
    assert functions["other_lines"](OTHER) == 2


@pytest.mark.parametrize(("found", "limit", "status"), [(5, 5, 0), (6, 5, 1), (4, 4, 0)])
def test_a_room_above_its_limit_fails_and_limits_only_fall(found, limit, status, tmp_path, monkeypatch):
    names = run_path(str(SCRIPT))["main"].__globals__
    path = tmp_path / "limits.txt"
    path.write_text("room 5\ngone 3\n")
    monkeypatch.setitem(names, "LIMITS", path)
    monkeypatch.setitem(names, "count", lambda: names["Counter"](room=found))
    assert names["main"]() == status
    monkeypatch.setattr("sys.argv", ["lines.py", "--lower"])
    assert names["main"]() == status
    assert path.read_text() == f"room {limit}\n"
    monkeypatch.setitem(names, "count", lambda: names["Counter"](new=1))
    assert names["main"]() == 1
