"""Advice on a training text: suitable options and possible problems.

A wrong suggestion is worse than none, so the conditions are strict. For example, most lines of a poem, a
program or a log may be short, but they depend on each other.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from minichar.text.corpus import Corpus
from minichar.text.mapping import release
from minichar.training.settings import Settings

MOST = 2
"""Maximum number of lines of advice."""
SAMPLE, PIECES = 2_000_000, 50
"""A text of more than `SAMPLE` characters is represented by `PIECES` evenly spaced pieces. They may contain a
smaller fraction of repeated lines."""
BLOCK = 1 << 20
"""Number of characters counted at a time, to limit memory use for long texts."""

LINES, MOST_LINES = 100, 10_000
"""Minimum number of lines in a list, and maximum number of lines checked."""
ITEMS = 0.95
"""Minimum fraction of the lines of a list that are items (`is_item`)."""
DISTINCT = 0.5
"""Minimum fraction of distinct lines in a list. Logs and texts with one word per line usually have fewer."""
DIGITS = 0.2
"""Maximum fraction of digits in a list. Measurements have more."""
WORDS = 4
"""Maximum number of words in an item of a list."""
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""A character of a script without spaces between words: Thai, Lao, Burmese, Khmer, Chinese or Japanese."""
ENDS = frozenset(",;:.!?…'\"()[]{}<>。，、；：！？”」")
"""Characters that end lines of prose, verse and code, but few items of a list."""
ENCODED = re.compile(r"\w{31}")
"""A longer run of letters and digits than in a name or an address, as in lines of a DNA sequence."""

RARE = 100
"""Minimum number of rare characters that are worth replacing."""
RARE_SHARE, REPLACED_SHARE = 0.25, 0.01
"""Minimum fraction of the distinct characters, and maximum fraction of the text, that are replaced."""
FREQUENCIES = (5, 3, 2)
"""Values of `min_freq` to suggest, the best one first."""

LONG = 20
"""Minimum length of a line that counts as repeated. Shorter ones, such as ``else:``, recur in most texts."""
REPEATED_SHARE = 0.25
"""Minimum fraction of repeated lines in a text. In most programs and manuals, it is less than this."""

MARKUP = re.compile(r"<[!/?]?[A-Za-z][^<>]{0,200}>|([-=_*~+#.])\1{3,}|^[ \t]*[|+].*[|+][ \t]*$", re.MULTILINE)
"""A tag, a horizontal rule, or a row of a table."""
MARKUP_SHARE = 0.1
"""Minimum fraction of markup in a text. Most programs have less."""
RULE = re.compile(r"([-=_*~+#.])\1{19,}")
"""A long horizontal rule."""
RULE_SHARE = 0.02
"""Minimum fraction of long rules in a text. Text generated at a low temperature then often repeats one."""


def text_advice(corpus: Corpus, settings: Settings) -> list[str]:
    """Return up to `MOST` lines of advice on a text, the most important first."""
    text = sample(corpus)
    lines = text.split("\n")
    advice = (
        "" if settings.reset_on else list_advice(lines),
        "" if settings.min_freq else rare_advice(corpus),
        repetition_advice(lines),
        markup_advice(text),
    )
    return [each for each in advice if each][:MOST]


def sample(corpus: Corpus) -> str:
    """Return the text or, if it is longer than `SAMPLE`, pieces of it with about that length in total."""
    N = len(corpus.ids)
    step = -(-N // PIECES)
    size = min(step, SAMPLE // PIECES)
    text = "".join(corpus.vocabulary.decode(corpus.ids[i : i + size]) for i in range(0, N, step))
    release(corpus.ids)
    return text


def list_advice(lines: Sequence[str]) -> str:
    """Return advice if the lines are a list, such as names or addresses; otherwise, an empty string."""
    some = lines[:: len(lines) // MOST_LINES + 1]
    characters, share = "".join(some), sum(map(is_item, some)) / len(some)
    if (
        len(lines) < LINES
        or share < ITEMS
        or len(set(lines)) < DISTINCT * len(lines)
        or sum(map(str.isdigit, characters)) > DIGITS * len(characters)
    ):
        return ""
    return rf"{share:.0%} of lines are short: if they are independent, use --reset-on '\n'"


def is_item(line: str) -> bool:
    """Return whether a line is like an item of a list: a few words, not indented, no final punctuation."""
    words = max(len(line.split()), len(UNSPACED.findall(line)))
    return 0 < words <= WORDS and not line[0].isspace() and line[-1] not in ENDS and not ENCODED.search(line)


def rare_advice(corpus: Corpus) -> str:
    """Return advice if many of the distinct characters are rare; otherwise, an empty string."""
    ids, V = corpus.ids, len(corpus.vocabulary)
    counts, fewest = np.zeros(V, np.intp), max(RARE, RARE_SHARE * V)  # (V,)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=V)
        release(ids)
        if np.count_nonzero(counts < max(FREQUENCIES)) < fewest:  # usually after the first block
            return ""
    for min_freq in FREQUENCIES:
        rare = counts[counts < min_freq]  # (rare characters,)
        share = rare.sum() / len(ids)
        if len(rare) >= fewest and share <= REPLACED_SHARE:
            return (
                f"--min-freq {min_freq} would replace {len(rare):,} rare characters ({share:.2%} of the text)"
            )
    return ""


def repetition_advice(lines: Sequence[str]) -> str:
    """Return advice if much of the text is repeated lines; otherwise, an empty string."""
    counts = Counter(line for line in lines if len(line.strip()) >= LONG)
    repeated = sum((n - 1) * (len(line) + 1) for line, n in counts.items())
    share = repeated / (sum(map(len, lines)) + len(lines))
    if share < REPEATED_SHARE:
        return ""
    return f"repeated lines (at least {min(share, 0.99):.0%} of the text) lower the validation loss"


def markup_advice(text: str) -> str:
    """Return advice if much of the text is markup, tables or long rules; otherwise, an empty string."""
    if (share := share_of(MARKUP, text)) >= MARKUP_SHARE:
        return f"{share:.0%} of the text is markup or tables, which the model will also learn"
    if (share := share_of(RULE, text)) >= RULE_SHARE:
        return f"{share:.0%} of the text is runs like =====, which generated text may repeat"
    return ""


def share_of(pattern: re.Pattern[str], text: str) -> float:
    """Return the fraction of the text that matches the pattern."""
    return sum(len(match[0]) for match in pattern.finditer(text)) / len(text)
