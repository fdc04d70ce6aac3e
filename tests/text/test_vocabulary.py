import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minichar.text.vocabulary as vocabulary_module
from minichar.errors import MinicharError
from minichar.text.vocabulary import CODE_POINTS, Vocabulary, code_points

ANY_TEXT = st.text(st.characters())  # lone surrogates, NULs and astral characters among them


def of(text, unknown=False):
    return Vocabulary("".join(sorted(set(text))), unknown)


def counts_of(text):
    return np.bincount(code_points(text), minlength=CODE_POINTS)


@given(ANY_TEXT.filter(bool))
def test_any_text_comes_back(text):
    vocabulary = of(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert [vocabulary.characters[i] for i in ids] == list(text)


@given(ANY_TEXT, st.text(st.characters(), min_size=1, max_size=8))
def test_unknown_characters_go_or_become_the_last_id(text, known):
    vocabulary = of(known, unknown=True)
    kept = "".join(c for c in text if c in known)
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == kept
    expected = [vocabulary.characters.find(c) if c in known else len(set(known)) for c in text]
    assert vocabulary.encode(text, "unk").tolist() == expected
    assert vocabulary.decode(vocabulary.encode(text, "unk")) == "".join(
        c if c in known else "\ufffd" for c in text
    )


@pytest.mark.parametrize("text", ["\ud800\udfff", "a\0b", "\U0010ffff\U0001f600", "\ufeff\ufffe\uffff"])
def test_the_odd_corners_of_unicode(text):
    assert of(text).decode(of(text).encode(text)) == text


def test_a_long_text_is_encoded_piece_by_piece(monkeypatch):
    monkeypatch.setattr(vocabulary_module, "PIECE", 3)
    text = "the quick brown fox"
    vocabulary = of(text.replace("q", ""), unknown=True)
    assert vocabulary.decode(vocabulary.encode(text, "unk")) == text.replace("q", "\ufffd")
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == text.replace("q", "")


def test_ids_follow_the_code_points():
    vocabulary = Vocabulary.from_counts(counts_of("hello, 世界\n"))
    assert vocabulary.characters == "\n ,ehlo世界"
    assert vocabulary.encode("\nh世").tolist() == [0, 4, 7]
    assert (len(vocabulary), vocabulary.unknown, vocabulary.unknown_id) == (9, False, None)


def test_min_freq_sends_rare_characters_to_the_unknown_id():
    vocabulary = Vocabulary.from_counts(counts_of("aaabbc"), min_freq=2)
    assert vocabulary == Vocabulary("ab", unknown=True)
    assert (len(vocabulary), vocabulary.unknown_id) == (3, 2)
    assert vocabulary.encode("abc", "unk").tolist() == [0, 1, 2]


def test_the_unknown_id_exists_as_soon_as_min_freq_is_not_0():
    assert Vocabulary.from_counts(counts_of("ab"), min_freq=1) == Vocabulary("ab", unknown=True)
    assert Vocabulary.from_counts(counts_of("ab")) == Vocabulary("ab")
    assert Vocabulary("ab") != Vocabulary("ab", unknown=True)


@pytest.mark.parametrize(("min_freq", "says"), [(4, "no character occurs 4 times"), (-1, "0 or more")])
def test_a_min_freq_without_sense_is_refused(min_freq, says):
    with pytest.raises(MinicharError, match=says):
        Vocabulary.from_counts(counts_of("aaabbc"), min_freq)


def test_no_text_no_vocabulary():
    with pytest.raises(MinicharError, match="no character"):
        Vocabulary.from_counts(counts_of(""))


@pytest.mark.parametrize(("characters", "says"), [("", "at least one"), ("ba", "order"), ("aa", "once")])
def test_characters_must_be_in_order_and_each_once(characters, says):
    with pytest.raises(MinicharError, match=says):
        Vocabulary(characters)


def test_membership_is_of_characters():
    vocabulary = Vocabulary("abc", unknown=True)
    assert "b" in vocabulary
    assert "ab" not in vocabulary
    assert "" not in vocabulary
    assert "\ufffd" not in vocabulary


@pytest.mark.parametrize(
    ("size", "unknown", "dtype"),
    [(255, False, np.uint8), (255, True, np.uint16), (65535, False, np.uint16), (65536, False, np.uint32)],
)
def test_ids_take_the_smallest_type_that_holds_v(size, unknown, dtype):
    vocabulary = Vocabulary("".join(map(chr, range(size))), unknown)
    text = chr(0) + chr(size - 1)
    ids = vocabulary.encode(text)
    assert ids.dtype == dtype
    assert ids.tolist() == [0, size - 1]


def test_missing_characters_are_named_with_their_places():
    with pytest.raises(MinicharError) as caught:
        Vocabulary("abc", unknown=True).encode("ab世cé\0é")
    assert "'世' (U+4E16) at position 2" in str(caught.value)
    assert "'é' (U+00E9) at positions 4, 6" in str(caught.value)
    assert r"'\x00' (U+0000) at position 5" in str(caught.value)
    assert "more" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--unknown skip" in str(caught.value)


def test_of_many_places_only_some_are_named():
    with pytest.raises(MinicharError, match=r"'X' \(U\+0058\) at positions 1, 3, 5, 7, 9 and 2 more;"):
        Vocabulary("a").encode("aX" * 7)


def test_of_many_missing_characters_only_some_are_named():
    with pytest.raises(MinicharError, match=r"'4' \(U\+0034\) at position 4 and 5 more;"):
        Vocabulary("abc").encode("0123456789")


def test_unk_needs_an_unknown_id():
    with pytest.raises(MinicharError, match="no id for unknown"):
        Vocabulary("abc").encode("abc", "unk")


def test_an_unheard_of_policy_is_refused():
    with pytest.raises(MinicharError, match="'ignore'"):
        Vocabulary("abc").encode("abc", "ignore")


def test_decode_takes_lists_and_arrays_of_any_shape():
    vocabulary = Vocabulary("abc")
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode([[0, 1], [2, 0]]) == "abca"
    assert vocabulary.decode(np.uint8(2)) == "c"


@pytest.mark.parametrize("bad", [-1, 3])
def test_decode_refuses_ids_that_are_none(bad):
    with pytest.raises(IndexError, match=r"outside 0\.\.2"):
        Vocabulary("abc").decode([0, bad])
