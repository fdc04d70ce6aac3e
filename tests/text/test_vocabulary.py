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


def counts_of(text):
    return np.bincount(code_points(text), minlength=CODE_POINTS)


@settings(max_examples=40)
@given(ANY_TEXT.filter(bool))
@example("\ud800\udfff")
@example("a\0b")
@example("\ufeff\ufffe\uffff\U0010ffff")
def test_encoded_text_round_trips(text):
    vocabulary = of(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert [vocabulary.characters[i] for i in ids] == list(text)


@settings(max_examples=40)
@given(ANY_TEXT, st.text(st.characters(), min_size=1, max_size=8))
def test_unknown_characters_are_skipped_or_become_the_last_id(text, known):
    vocabulary = of(known, unknown=True)
    kept = "".join(c for c in text if c in known)
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == kept
    expected = [vocabulary.characters.find(c) if c in known else len(set(known)) for c in text]
    assert vocabulary.encode(text, "unk").tolist() == expected
    assert vocabulary.decode(vocabulary.encode(text, "unk")) == "".join(
        c if c in known else "\ufffd" for c in text
    )


def test_encoding_in_pieces_gives_the_same_ids(monkeypatch):
    monkeypatch.setattr(vocabulary_module, "PIECE", 3)
    text = "the quick brown fox"
    vocabulary = of(text.replace("q", ""), unknown=True)
    assert vocabulary.decode(vocabulary.encode(text, "unk")) == text.replace("q", "\ufffd")
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == text.replace("q", "")


def test_min_freq_maps_rare_characters_to_the_unknown_id():
    vocabulary = Vocabulary.from_counts(counts_of("hello, 世界\n"))
    assert (vocabulary.characters, vocabulary.unknown_id) == ("\n ,ehlo世界", None)
    vocabulary = Vocabulary.from_counts(counts_of("aaabbc"), min_freq=2)
    assert vocabulary == Vocabulary("ab", unknown=True) != Vocabulary("ab")
    assert (len(vocabulary), vocabulary.unknown_id) == (3, 2)
    assert vocabulary.encode("abc", "unk").tolist() == [0, 1, 2]
    assert Vocabulary.from_counts(counts_of("ab"), min_freq=1) == Vocabulary("ab", unknown=True)


@pytest.mark.parametrize(
    ("text", "min_freq", "says"),
    [
        ("aaabbc", 4, "occurs 4 or more times"),
        ("aaabbc", -1, "min_freq is -1"),
        ("", 0, "no character occurs 1 or more times"),
    ],
)
def test_an_invalid_min_freq_is_rejected(text, min_freq, says):
    with pytest.raises(MinicharError, match=says):
        Vocabulary.from_counts(counts_of(text), min_freq)


@pytest.mark.parametrize(
    ("characters", "says"),
    [
        ("", "at least one"),
        ("ba", "order"),
        ("aa", "without duplicates"),
        (["a", "b"], r"characters is \['a', 'b'\]; it must be text"),
    ],
)
def test_characters_must_be_sorted_text_without_duplicates(characters, says):
    with pytest.raises(MinicharError, match=says):
        Vocabulary(characters)


def test_only_single_known_characters_are_members():
    vocabulary = Vocabulary("abc", unknown=True)
    assert "b" in vocabulary
    assert "ab" not in vocabulary
    assert "" not in vocabulary
    assert "\ufffd" not in vocabulary


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
    ("known", "text", "words"),
    [
        (
            "abc",
            "ab世cé\0é",
            "'世' (U+4E16) at position 3, 'é' (U+00E9) at positions 5, 7, '\\x00' (U+0000) at position 6; ",
        ),
        ("a", "aX" * 7, "'X' (U+0058) at positions 2, 4, 6, 8, 10 and 2 more;"),
        ("abc", "0123456789", "'4' (U+0034) at position 5 and 5 more;"),
    ],
)
def test_missing_characters_are_listed_with_their_positions(known, text, words):
    for unknown in (True, False):
        with pytest.raises(MinicharError) as caught:
            Vocabulary(known, unknown).encode(text)
        assert words in str(caught.value)
        assert str(caught.value).endswith(f"use unknown='{'unk' if unknown else 'skip'}'")


@pytest.mark.parametrize(
    ("unknown", "says"), [("unk", "no unknown token: use unknown='skip'$"), ("ignore", "unknown is 'ignore'")]
)
def test_an_unusable_unknown_option_is_rejected(unknown, says):
    with pytest.raises(MinicharError, match=says):
        Vocabulary("abc").encode("abc", unknown)


def test_decode_accepts_lists_and_arrays_of_any_shape():
    vocabulary = Vocabulary("abc")
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode([[0, 1], [2, 0]]) == "abca"
    assert vocabulary.decode(np.uint8(2)) == "c"
    for bad in (-1, 3):
        with pytest.raises(IndexError, match=r"must be in 0\.\.2"):
            vocabulary.decode([0, bad])
