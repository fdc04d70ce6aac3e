import unicodedata

import pytest

from minichar.errors import LONGEST, MinicharError, Option, brief, plain, visible

FORMATTING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Bidirectional classes of the characters that change the order of the text around them."""


def is_control(character):
    category = unicodedata.category(character)
    return category in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(character) in FORMATTING


def test_only_control_characters_are_escaped():
    for plane in (range(0x20000), range(0xE0000, 0xE1000)):  # the other planes have ideographs or nothing
        for character in map(chr, plane):
            if is_control(character) and character not in "\n\t":
                assert visible(character) == character.encode("unicode_escape").decode()
            else:
                assert visible(character) == character


@pytest.mark.parametrize(
    "value",
    ["x" * 1000, "\x1b" * 1000, 10**1000, [["x" * 1000] * 9] * 9],
    ids=["text", "control characters", "integer", "list"],
)
def test_long_values_are_truncated(value):
    for text in (plain(value), brief(value), str(Option("", value))[1:], Option("", value).flag[3:]):
        assert len(text) == LONGEST
        assert "..." in text
    assert plain("a" * LONGEST + "b")[-1] == "b"
    assert plain("a" * LONGEST) == "a" * LONGEST
    assert plain("x" * 1000, longest=20) == f"{'x' * 8}...{'x' * 9}"
    assert brief("x" * 1000, longest=20) == f"'{'x' * 7}...{'x' * 8}'"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J\u202e"])
def test_a_message_is_one_line_without_control_characters(name):
    error = MinicharError(f"cannot read {name}: set ", Option("data", "c"))
    escaped = name.encode("unicode_escape").decode()
    assert str(error) == f"cannot read {escaped}: set data='c'"
    assert error.with_flags == f"cannot read {escaped}: set --data c"
