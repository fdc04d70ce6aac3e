"""Suggest encodings for text that cannot be decoded, each with an excerpt of the decoded text.

An encoding is suggested if most of the decoded characters are common in the languages it is used for.
The excerpt lets users check whether the text is readable.
"""

import codecs
from collections.abc import Callable, Collection
from functools import cache, partial

SAMPLE = 1 << 16
"""Maximum number of bytes decoded with each encoding."""
EXCERPT = 16
"""Maximum length of an excerpt, in characters."""
PLAUSIBLE = 0.75
"""Minimum plausibility of a suggestion."""
CAPITAL = 0.8
"""Plausibility of each letter after the first in an all-capitals word."""
FULL_WIDTH = frozenset(map(chr, [*range(0x3000, 0x3020), *range(0xFF01, 0xFF61)]))
PUNCTUATION = FULL_WIDTH | {*"\xa0¡«°§·»¿–—‘’‚“”„…€№"}
KANA = frozenset(map(chr, range(0x3041, 0x30FF)))
LATIN, GREEK, CYRILLIC = (
    frozenset(filter(str.isalpha, map(chr, range(*ends))))
    for ends in ((0xC0, 0x180), (0x370, 0x400), (0x400, 0x500))
)


def suggest(raw: bytes, offset: int, rejected: str, number: int = 3) -> list[tuple[str, str]]:
    """Return up to `number` candidate encodings for a file, most likely first, each with an excerpt.

    `offset` is the position of the first byte in `raw` that the encoding `rejected` cannot decode. Earlier
    lines are ignored.
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
def _judges() -> dict[str, Callable[[str], float]]:
    """Return functions that compute the plausibility (0 to 1) of a text, keyed by its encoding.

    Equally plausible encodings are suggested in this order.
    """
    hanzi = _rows("gb2312", 0xB0, 0xD7) | _rows("cp950", 0xA4, 0xC6)
    japanese, hangul = _rows("euc_jp", 0xB0, 0xCF) | KANA, _rows("euc_kr", 0xB0, 0xC8)
    ascii_ = {each for each in map(chr, range(128)) if each.isprintable() or each.isspace()}
    wide = partial(_share, common=hanzi | japanese | hangul | LATIN | GREEK | CYRILLIC | ascii_)
    return {
        "utf-8": lambda text: 1.0,
        "utf-16-le": wide,
        "utf-16-be": wide,
        "euc_kr": partial(_east_asian, common=hangul),
        "euc_jp": partial(_japanese, common=japanese),
        "cp932": partial(_japanese, common=japanese),
        "gb18030": partial(_east_asian, common=hanzi),
        "cp950": partial(_east_asian, common=hanzi),
        "cp1252": partial(_spelling, alphabet=LATIN),
        "cp1250": partial(_spelling, alphabet=LATIN),
        "cp1251": partial(_spelling, alphabet=CYRILLIC),
        "koi8_r": partial(_spelling, alphabet=CYRILLIC),
        "cp1253": partial(_spelling, alphabet=GREEK),
    }


def _rows(encoding: str, first: int, last: int) -> frozenset[str]:
    """Return the characters whose first byte in an East Asian encoding is in the range `first` to `last`.

    East Asian encodings place the most common characters in their first rows.
    """
    leads, trails = range(first, last + 1), range(0x40, 0xFF)
    return frozenset(bytes((lead, trail)).decode(encoding, "ignore") for lead in leads for trail in trails)


def _east_asian(text: str, common: Collection[str]) -> float:
    return _share([character for character in text if not character.isascii()], common)


def _japanese(text: str, common: Collection[str]) -> float:
    return 0 if KANA.isdisjoint(text) else _east_asian(text, common)  # without kana, it may be Chinese


def _share(characters: Collection[str], common: Collection[str]) -> float:
    """Return the fraction of the characters that are in `common` or `PUNCTUATION`."""
    return sum(each in common or each in PUNCTUATION for each in characters) / max(len(characters), 1)


def _spelling(text: str, alphabet: Collection[str]) -> float:
    """Return the mean plausibility of the non-ASCII characters of a text in an alphabet.

    Text decoded with the wrong encoding contains capitals after lower-case letters, words that mix alphabets,
    and words with three accented letters in a row.
    """
    neighbours = zip(" " + text, text, text[1:] + " ", strict=False)
    values = [_fits(*each, alphabet) for each in neighbours if not each[1].isascii()]
    return sum(values) / max(len(values), 1)


def _fits(before: str, character: str, after: str, alphabet: Collection[str]) -> float:
    """Return the plausibility (0 to 1) of a character between its two neighbours."""
    if character not in alphabet:
        return character in PUNCTUATION
    if alphabet is LATIN:
        is_foreign = before in LATIN and after in LATIN
    else:
        is_foreign = any(other.isascii() and other.isalpha() for other in (before, after))
    if is_foreign:
        return 0
    if character.isupper() and before.isalpha():
        return CAPITAL if before.isupper() else 0
    return 1
