import re
from pydoc_data.topics import topics

import pytest

from minichar.errors import MinicharError
from minichar.text.pydocs import prose, pydocs_text

TOPIC = """\
The "walk" statement
********************

Walking is the simple statement that moves left-
hand  items by one step, more or -
less
- far, as in:

   walk_stmt ::= "walk" (target "," | "*")
                 | "stand" target
   legs:         target "." target

Walking stops at the end. [1] The following prints it, see
the example:

   >>> for leg in legs:  # Both of them. All
   ...     print(leg)

+-------+------------------+
| Steps | Meaning          |
|=======|==================|
| two   | Two steps ahead. |
+-------+------------------+

See also:

  **PEP 9** - Walking
     The specification of walks.

  Module "legs"

Gaits
=====

object.__walk__(self, steps)
object.__iwalk__(self, steps)

   Called to walk. Must return:

   * a number, or

   * "None" for
     the end

   See also: The legs on which
     walking depends.

   Trotting
      Called e.g. "trotting" in
      "horse.txt".

   1. Start with
      a step

   2. Stop.

Notes
-----

A definition that introduces nothing.
For example, the following code

   class Gait(Walk):
      pass

-[ Footnotes ]-

[1] Unless the next step begins “an endless, endless walk.”
"""
PROSE = [
    'The "walk" statement',
    "Walking stops at the end. [1]",
    "Gaits",
    "Called to walk. Must return:",
    "* a number, or",
    '* "None" for the end',
    'Called e.g. "trotting" in "horse.txt".',
    "1. Start with a step",
    "2. Stop.",
    "Notes",
    "A definition that introduces nothing.",
    "[1] Unless the next step begins “an endless, endless walk.”",
]


def test_only_prose_is_kept():
    assert prose(TOPIC) == PROSE


def test_an_introduction_is_kept_if_something_follows():
    text = "It is:\n\n* a\n\nThen it is:\n\n   x = 1\n\nIt was. It is:\n\n   x = 1"
    assert prose(text) == ["It is:", "* a", "It was."]


def test_symbols_are_limited():
    for symbol in r"|+-=_<>[]{}#@\^~%&":
        assert prose(f"{'a' * 22}{symbol}.\n\n{'a' * 23}{symbol}.") == [f"{'a' * 23}{symbol}."]


def test_the_help_topics_of_this_python():
    text, uncleaned = pydocs_text(), sum(map(len, topics.values()))
    assert text == pydocs_text()
    assert text.startswith('The "assert" statement\n\n')
    assert text.index('The "assert" statement') < text.index('The "while" statement')
    assert 0.6 < len(text) / uncleaned < 0.7
    lines = text.splitlines()
    assert lines[1::2] == [""] * (len(lines) // 2)
    for line in lines[::2]:
        assert line
        assert line == " ".join(line.split())
        assert not re.search(r"\+--|==\||::=|>>>|[*=~-]{5}|^See also:|^\*\*PEP \d+\*\* [-–]", line)
    shares = [sum(map(text[i : i + 500].count, "|+-=_")) / 500 for i in range(0, len(text), 500)]
    assert sum(share > 0.05 for share in shares) < 0.01 * len(shares)


def test_help_topics_are_ordered_by_name(monkeypatch):
    monkeypatch.setattr("pydoc_data.topics.topics", {"b": "Two.", "c": "Three.\n", "a": "One."})
    assert pydocs_text() == "One.\n\nTwo.\n\nThree.\n"


def test_a_python_without_help_topics_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(MinicharError, match="has no help topics"):
        pydocs_text()
