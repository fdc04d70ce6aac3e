r"""Test the advice that `minichar train` gives on a text."""

import re
from itertools import product
from pathlib import Path
from textwrap import fill

import numpy as np
import pytest
from toys import TOY

from minichar import Vocabulary
from minichar.cli import report, text_advice
from minichar.text.corpus import Corpus
from minichar.training.settings import Settings

CODE = Path(report.__file__).read_text(encoding="utf-8")
NAMES = [*map("".join, product(("Bel", "Cor", "Dan", "Fay", "Gil"), "aeiou", ("ra", "no", "th", "x")))]
WORDS = sorted({*re.findall("[a-z]{3,}", CODE)})[:100]
HAN = [chr(0x4E00 + i) for i in range(400)]
PROSE = " ".join(
    f"The {word} of {name} was here, as {name} said." for name, word in zip(NAMES, WORDS, strict=True)
)


def corpus_of(text, min_freq=0):
    characters, counts = np.unique([*text], return_counts=True)
    vocabulary = Vocabulary("".join(characters[counts >= min_freq]), unknown=min_freq > 0)
    ids = vocabulary.encode(text, "unk" if min_freq else "error")
    return Corpus(ids, np.zeros(1, np.int64), vocabulary, len(characters), "input.txt", "", ())


def advice_on(text, **options):
    advice = text_advice.text_advice(corpus_of(text, options.get("min_freq", 0)), Settings(**options))
    assert all(len(line) <= 69 for line in advice), "it fits a terminal beside the label"
    return advice


@pytest.mark.parametrize(
    "lines",
    [
        NAMES,
        [f"{name} {word} of {name}" for name, word in zip(NAMES, WORDS, strict=True)],
        ["".join(HAN[i : i + 4]) for i in range(100)],
        [*NAMES[:95], *["The end of it."] * 5],
        [*NAMES[:50], *[NAMES[0]] * 50],
        [f"{name} {'i' * 30}" for name in NAMES],
    ],
)
def test_a_list_of_independent_lines(lines):
    (advice,) = advice_on("\n".join(lines))
    assert re.fullmatch(r"\d+% of lines are short: if they are independent, use --reset-on '\\n'", advice)
    assert advice_on("\n".join(lines), reset_on="\n") == []


@pytest.mark.parametrize(
    "lines",
    [
        NAMES[:99],
        [*NAMES[:94], *["The end of it."] * 6],
        [*NAMES[:49], *[NAMES[0]] * 51],
        [f"{name[:3]}{i % 10}" for i, name in enumerate(NAMES)],
        [f"{name} {'i' * 31}" for name in NAMES],
        [f"{name} has one {name} too" for name in NAMES],
        ["".join(HAN[i : i + 5]) for i in range(100)],
        [f" {name}" for name in NAMES],
        fill(PROSE, 40).split("\n"),
        CODE.split("\n"),
        [""] * 200,
    ],
)
def test_lines_that_may_depend_on_each_other(lines):
    assert advice_on("\n".join(lines)) == []


@pytest.mark.parametrize(
    ("N", "rare", "min_freq", "share"),
    [
        (40_000, {1: HAN[:100], 4: HAN[100:200]}, 3, "0.25"),
        (15_000, {1: HAN[:100], 2: HAN[100:200]}, 2, "0.67"),
        (10_000, {1: HAN[:100]}, 5, "1.00"),
        (40_000, {1: HAN[:100], 9: HAN[100:390]}, 5, "0.25"),
        (9_900, {1: HAN[:100]}, 0, ""),
        (40_000, {1: HAN[:100], 9: HAN[100:391]}, 0, ""),
        (40_000, {1: HAN[:99]}, 0, ""),
        (40_000, {5: HAN[:100]}, 0, ""),
    ],
)
def test_many_rare_characters(monkeypatch, N, rare, min_freq, share):
    monkeypatch.setattr(text_advice, "BLOCK", 50)
    text = "".join(character * n for n, characters in rare.items() for character in characters)
    text += ("abcdefghij" * N)[: N - len(text)]
    advice = f"--min-freq {min_freq} would replace 100 rare characters ({share}% of the text)"
    assert advice_on(text) == ([advice] if min_freq else [])
    assert advice_on(text, min_freq=2) == []


LINE = "the same words over again"
OTHERS = [f"{name} and {word}, in {LINE}"[: len(LINE)] for name, word in zip(NAMES, WORDS, strict=True)]


@pytest.mark.parametrize(
    ("lines", "share"),
    [
        ([*OTHERS[:74], *[LINE] * 26], "25"),
        ([*OTHERS[:75], *[LINE] * 25], ""),
        ([LINE] * 1000, "99"),
        ([line[:19] + "." for line in (*OTHERS[:60], *OTHERS[:60])], "50"),
        ([line[:18] + "." for line in (*OTHERS[:60], *OTHERS[:60])], ""),
        ([*[" " * 30] * 100, *OTHERS], ""),
    ],
)
def test_repeated_lines(lines, share):
    advice = f"repeated lines (at least {share}% of the text) lower the validation loss"
    assert advice_on("\n".join(lines)) == ([advice] if share else [])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("<?xml?><!DOCTYPE html>\n<p class='x'>one </p>...", "83"),
        ("<b>" + "x" * 27, "10"),
        ("<b>" + "x" * 28, ""),
        ("  +--+\n  |ab|  \n  +--+\n" + "x" * 17, "50"),
        ("====\n" + "x " * 17 + "x", "10"),
        ("===\n" * 9 + "x " * 20, ""),
        ("=" * 40 + "x " * 180, "10"),
        ("if (a < b && c > d) return a || b;\nvector<int> v;\n" + "x " * 20, ""),
    ],
)
def test_markup_and_tables(text, share):
    advice = f"{share}% of the text is markup or tables, which the model will also learn"
    assert advice_on(text) == ([advice] if share else [])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("=" * 20 + "x " * 480, "2"),
        ("=" * 20 + "x " * 491, ""),
        ("=" * 19 + "\n" + "x " * 100, ""),
        ("-" * 40 + "#" * 50 + "x " * 500, "8"),
    ],
)
def test_long_rules(text, share):
    advice = f"{share}% of the text is runs like =====, which generated text may repeat"
    assert advice_on(text) == ([advice] if share else [])


def test_there_are_at_most_two_lines_of_advice():
    text = "".join(HAN[:200]) + f"<p>{LINE}</p>\n" * 2000
    assert [line.split()[-1] for line in advice_on(text)] == ["text)", "loss"]
    assert [line.split()[-1] for line in advice_on(text, min_freq=2)] == ["loss", "learn"]


def test_pieces_of_a_long_text_represent_it(monkeypatch):
    monkeypatch.setattr(text_advice, "SAMPLE", 20)
    monkeypatch.setattr(text_advice, "PIECES", 4)
    assert text_advice.sample(corpus_of("abcdefghijklmnopqrst")) == "abcdefghijklmnopqrst"
    assert text_advice.sample(corpus_of("abcdefghijklmnopqrstuvwxyz")) == "abcdehijklopqrsvwxyz"
    assert text_advice.sample(corpus_of("ab")) == "ab"


def test_the_advice_is_printed_unless_the_run_is_resumed(cli, home):
    (home / "input.txt").write_text("\n".join(NAMES))
    label = "\n           100% of lines are short: "
    trained = cli("train", "--data", "input.txt", *TOY)
    assert trained.stderr.count(label) == 1
    assert label not in cli("train", "--resume", trained.stdout.strip(), "--max-epochs", 3).stderr
