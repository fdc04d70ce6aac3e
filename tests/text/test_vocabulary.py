import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minichar.text.vocabulary as vocabulary_module
from minichar.errors import MinicharError
from minichar.text.vocabulary import CODE_POINTS, Vocabulary, code_points

ANY_TEXT = st.text(st.characters())  # including lone surrogates, NULs and astral characters


def of(text, unknown=False):
    return Vocabulary("".join(sorted(set(text))), unknown)


@pytest.mark.parametrize(
    ("known", "text", "remedy"),
    [
        ("a", "☃", "remove them"),
        ("'e-", "’é—", """write "'" instead of '’', 'e' instead of 'é', '-' instead of '—'"""),
        ("山，", "山,", "write '，' instead of ','"),
        ("a!", "ａ！", "write 'a' instead of 'ａ', '!' instead of '！'"),
        ("e", "é☃’", "write 'e' instead of 'é', remove the others"),
    ],
)
def test_similar_characters_are_suggested(known, text, remedy):
    with pytest.raises(MinicharError) as caught:
        of(known).encode(text)
    assert str(caught.value).endswith(f"; {remedy}, or use unknown='skip'")


def counts_of(text):
    return np.bincount(code_points(text), minlength=CODE_POINTS)


@settings(max_examples=40)
@given(ANY_TEXT, st.text(st.characters(), min_size=1, max_size=8))
@example("\ud800\udfff", "\udfff")
@example("a\0b", "\0")
@example("\ufeff\ufffe\uffff\U0010ffff", "\ufffe")
def test_texts_round_trip_and_unknown_characters_are_skipped_or_become_the_last_id(text, known):
    vocabulary = of(text + known)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert [vocabulary.characters[i] for i in ids] == list(text)
    vocabulary = of(known, unknown=True)
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == "".join(c for c in text if c in known)
    ids = vocabulary.encode(text, "unk")
    assert ids.tolist() == [vocabulary.characters.find(c) % (len(set(known)) + 1) for c in text]
    assert vocabulary.decode(ids) == "".join(c if c in known else "\ufffd" for c in text)


def test_encoding_in_pieces_gives_the_same_ids(monkeypatch):
    monkeypatch.setattr(vocabulary_module, "PIECE", 3)
    text = "the quick brown fox"
    vocabulary = of(text.replace("q", ""), unknown=True)
    assert vocabulary.decode(vocabulary.encode(text, "unk")) == text.replace("q", "\ufffd")


def test_min_freq_maps_rare_characters_to_the_unknown_id():
    vocabulary = Vocabulary.from_counts(counts_of("hello, 世界\n"))
    assert (vocabulary.characters, vocabulary.unknown_id) == ("\n ,ehlo世界", None)
    vocabulary = Vocabulary.from_counts(counts_of("aaabbc"), min_freq=2)
    assert vocabulary == Vocabulary("ab", unknown=True) != Vocabulary("ab")
    assert (len(vocabulary), vocabulary.unknown_id) == (3, 2)
    assert vocabulary.encode("abc", "unk").tolist() == [0, 1, 2]
    assert Vocabulary.from_counts(counts_of("ab"), min_freq=1) == Vocabulary("ab", unknown=True)


@pytest.mark.parametrize(
    ("make", "argument", "says"),
    [
        (lambda n: Vocabulary.from_counts(counts_of("aaabbc"), n), 4, "no character occurs 4 or more times"),
        (lambda n: Vocabulary.from_counts(counts_of("aaabbc"), n), -1, "min_freq is -1"),
        (lambda n: Vocabulary.from_counts(counts_of(""), n), 0, "no character occurs 1 or more times"),
        (Vocabulary, "", "at least one"),
        (Vocabulary, "ba", "order"),
        (Vocabulary, "aa", "without duplicates"),
        (Vocabulary, ["a", "b"], r"characters is \['a', 'b'\]; it must be text"),
        (lambda unknown: Vocabulary("abc").encode("abc", unknown), "unk", "no unknown token"),
        (lambda unknown: Vocabulary("abc").encode("abc", unknown), "ignore", "unknown is 'ignore'"),
    ],
)
def test_invalid_arguments_are_rejected(make, argument, says):
    with pytest.raises(MinicharError, match=says):
        make(argument)


def test_only_single_known_characters_are_members():
    vocabulary = Vocabulary("abc", unknown=True)
    assert [text for text in ("b", "ab", "", "\ufffd") if text in vocabulary] == ["b"]


@pytest.mark.parametrize(
    ("size", "unknown", "dtype"),
    [(255, False, np.uint8), (255, True, np.uint16), (65535, False, np.uint16), (65536, False, np.uint32)],
)
def test_ids_have_the_smallest_type_that_holds_v(size, unknown, dtype):
    vocabulary = Vocabulary("".join(map(chr, range(size))), unknown)
    text = chr(0) + chr(size - 1)
    ids = vocabulary.encode(text)
    assert ids.dtype == dtype
    assert ids.tolist() == [0, size - 1]


@pytest.mark.parametrize(
    ("text", "words", "unknown"),
    [
        ("ab世é", "'世' (U+4E16) at position 3, 'é' (U+00E9) at position 4; remove them, or use ", True),
        ("\0X" * 7, "'X' (U+0058) at positions 2, 4, 6, 8, 10 and 2 more;", False),
        ("0123456789", "'4' (U+0034) at position 5 and 5 more;", False),
    ],
)
def test_missing_characters_are_listed_with_their_positions(text, words, unknown):
    with pytest.raises(MinicharError) as caught:
        Vocabulary("abc", unknown).encode(text)
    assert words in str(caught.value)
    assert str(caught.value).endswith(f"use unknown='{'unk' if unknown else 'skip'}'")


def test_decode_accepts_lists_and_arrays_of_any_shape():
    vocabulary = Vocabulary("abc")
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode([[0, 1], [2, 0]]) == "abca"
    assert vocabulary.decode(np.uint8(2)) == "c"
    for bad in (-1, 3):
        with pytest.raises(IndexError, match=r"must be in 0\.\.2"):
            vocabulary.decode([0, bad])
