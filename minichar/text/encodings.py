"""Suggest encodings for text that cannot be decoded, each with an excerpt of the decoded text.

An encoding is suggested if most of the decoded characters are common in the languages it is used for.
The excerpt lets users check whether the text is readable.
"""

import codecs
from collections.abc import Callable
from functools import cache, partial

SAMPLE = 1 << 16
"""Maximum number of bytes that are decoded with each encoding."""
EXCERPT = 16
"""Maximum length of an excerpt, in characters."""
PLAUSIBLE = 0.75
"""Minimum plausibility of a suggestion."""
CAPITAL = 0.8
"""Plausibility of each letter after the first in an all-capitals word."""
PUNCTUATION = frozenset("\xa0¡«°§·»¿–—‘’‚“”„…€№")
WITHIN_WORDS = frozenset("’·–—")
KANA = frozenset(map(chr, range(0x3041, 0x30FF)))
FULL_WIDTH = frozenset(map(chr, [*range(0x3000, 0x3020), *range(0xFF01, 0xFF61)])) | PUNCTUATION
LATIN = frozenset(filter(str.isalpha, map(chr, range(0xC0, 0x180))))

Judge = Callable[[str], float]
"""Function that returns the plausibility (0 to 1) of a text."""
Plausibility = Callable[[str, str, str], float]
"""Function that returns the plausibility (0 to 1) of a character, given its two neighbours."""


def suggest(raw: bytes, offset: int, rejected: str, number: int = 3) -> list[tuple[str, str]]:
    """Return candidate encodings for a file, most likely first.

    Parameters
    ----------
    raw : bytes
        The contents of the file.
    offset : int
        Offset of the first byte that cannot be decoded. Earlier lines are ignored.
    rejected : str
        The encoding that failed to decode the file.
    number : int
        Maximum number of suggestions.

    Returns
    -------
    list of tuple of (str, str)
        The name of each encoding and a one-line excerpt of the decoded text.
    """
    line = max(raw.rfind(b"\n", 0, offset) + 1, offset - SAMPLE // 2)
    suggestions = []
    for encoding, judge in _judges().items():
        start = line - line % 2 if encoding.startswith("utf-16") else line  # UTF-16 code units are 2 bytes
        try:
            # An incremental decoder allows an incomplete character at the end of the sample.
            text = codecs.getincrementaldecoder(encoding)().decode(raw[start : start + SAMPLE])
        except UnicodeError:
            continue
        if encoding != rejected and "\0" not in text and (plausibility := judge(text)) >= PLAUSIBLE:
            suggestions.append((plausibility, encoding, _excerpt(text)))
    suggestions.sort(key=lambda suggestion: -suggestion[0])
    if suggestions and suggestions[0][1] == "utf-8":  # text in other encodings is rarely valid UTF-8
        number = 1
    return [(encoding, excerpt) for _, encoding, excerpt in suggestions[:number]]


def _excerpt(text: str) -> str:
    """Return the first non-ASCII word of `text` and a few of the words that follow."""
    words = text.split()
    first = next((k for k, word in enumerate(words) if not word.isascii()), 0)
    excerpt = " ".join(words[first : first + EXCERPT])[:EXCERPT]
    return "".join(character if character.isprintable() else "?" for character in excerpt)


@cache
def _judges() -> dict[str, Judge]:
    """Return the `Judge` for each encoding. Equally plausible encodings are suggested in this order."""
    hanzi = _rows("gb2312", 0xB0, 0xD7) | _rows("big5", 0xA4, 0xC6)
    kanji, hangul = _rows("euc_jp", 0xB0, 0xCF), _rows("euc_kr", 0xB0, 0xC8)
    cyrillic, greek = _letters(0x400, 0x4FF), _letters(0x370, 0x3FF)
    wide = partial(_judge_wide, common=hanzi | kanji | KANA | hangul | FULL_WIDTH | LATIN | cyrillic | greek)
    chinese, japanese, korean = (
        partial(_judge_characters, common=letters | FULL_WIDTH) for letters in (hanzi, kanji | KANA, hangul)
    )
    latin = partial(_judge_words, plausibility=_in_latin)
    russian, hellenic = (
        partial(_judge_words, plausibility=partial(_in_alphabet, letters=alphabet))
        for alphabet in (cyrillic, greek)
    )
    return {
        "utf-8": lambda text: 1.0,
        "utf-16-le": wide,
        "utf-16-be": wide,
        "euc_kr": korean,
        "euc_jp": lambda text: japanese(text) * _has_kana(text),
        "cp932": lambda text: japanese(text) * _has_kana(text),
        "gb18030": chinese,
        "big5": chinese,
        "cp1252": latin,
        "cp1250": latin,
        "cp1251": russian,
        "koi8_r": russian,
        "cp1253": hellenic,
    }


def _rows(encoding: str, first: int, last: int) -> frozenset[str]:
    """Return the characters whose first byte in an East Asian encoding is in the range `first` to `last`.

    East Asian encodings place the most common characters in their first rows.
    """
    leads, trails = range(first, last + 1), range(0x40, 0xFF)
    return frozenset(bytes((lead, trail)).decode(encoding, "ignore") for lead in leads for trail in trails)


def _letters(first: int, last: int) -> frozenset[str]:
    """Return the letters in a range of code points."""
    return frozenset(filter(str.isalpha, map(chr, range(first, last + 1))))


def _has_kana(text: str) -> bool:
    """Return whether the text looks Japanese rather than Chinese."""
    outside = [character for character in text if not character.isascii()]
    return sum(character in KANA for character in outside) > len(outside) / 8


def _judge_characters(text: str, common: frozenset[str]) -> float:
    """Return the fraction of the non-ASCII characters that are in `common`."""
    outside = [character for character in text if not character.isascii()]
    return sum(character in common for character in outside) / max(len(outside), 1)


def _judge_wide(text: str, common: frozenset[str]) -> float:
    """Return the fraction of characters that are in `common`, or are printable ASCII or ASCII whitespace."""
    readable = sum(
        character in common or (character.isascii() and (character.isprintable() or character.isspace()))
        for character in text
    )
    return readable / max(len(text), 1)


def _judge_words(text: str, plausibility: Plausibility) -> float:
    """Return the mean plausibility of the non-ASCII characters.

    Text decoded with the wrong encoding contains symbols within words, capitals after lower-case letters, and
    words that mix alphabets.
    """
    neighbours = zip(" " + text, text, text[1:] + " ", strict=False)
    values = [plausibility(*characters) for characters in neighbours if not characters[1].isascii()]
    return sum(values) / max(len(values), 1)


def _in_latin(before: str, character: str, after: str) -> float:
    if character not in LATIN:
        return _as_symbol(before, character, after)
    foreign = before in LATIN and after in LATIN  # real words rarely have three accented letters in a row
    return not foreign and not (before.islower() and character.isupper())


def _in_alphabet(before: str, character: str, after: str, letters: frozenset[str]) -> float:
    if character not in letters:
        return _as_symbol(before, character, after)
    if any(other.isascii() and other.isalpha() for other in (before, after)):
        return 0
    if character.isupper() and before.isalpha():
        return CAPITAL if before.isupper() else 0
    return 1


def _as_symbol(before: str, character: str, after: str) -> float:
    return character in (WITHIN_WORDS if before.isalpha() and after.isalpha() else PUNCTUATION)
