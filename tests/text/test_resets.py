import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minichar.errors import MinicharError
from minichar.text import mapping
from minichar.text.batches import split_text
from minichar.text.resets import find_resets, separator_ids
from minichar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("ab")


def found(text, separator, starts=()):
    """Return the positions of the resets."""
    resets = find_resets(VOCABULARY.encode(text), VOCABULARY.encode(separator), starts)
    if resets is None:
        return []
    positions = np.flatnonzero(~resets.state_mask(0, len(text))[:, 0]).tolist()
    assert resets.count() == len(positions)
    return positions


def wanted(text, separator, starts=()):
    ends = [end - 1 for end in range(len(text) + 1) if separator and text[:end].endswith(separator)]
    return sorted({*ends, *starts})


@given(st.text("ab", max_size=40), st.text("ab", min_size=1, max_size=5), st.integers(1, 7))
def test_every_occurrence_is_found_in_blocks_of_any_size(text, separator, block):
    """Occurrences can overlap and can straddle a block boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapping, "BLOCK", block)
        assert found(text, separator) == wanted(text, separator)


def test_without_a_separator_there_are_no_resets():
    assert find_resets(VOCABULARY.encode("ab"), VOCABULARY.encode("")) is None
    assert found("ab", "", starts=[1]) == [1]


def test_the_memory_use_does_not_depend_on_the_number_of_separators(tmp_path):
    """The ids can be memory-mapped. The test searches 16 MB of ids in blocks of 1 MB."""
    ids = np.memmap(tmp_path / "ids", np.uint8, "w+", shape=16 << 20)
    ids[1::2] = 1
    tracemalloc.start()
    resets = find_resets(ids, np.array([0, 1], np.uint8))
    assert resets.count() == 8 << 20
    state_mask = resets.at(np.array([0, (1 << 20) - 1])).state_mask(5, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(state_mask.T, [[0, 1, 0, 1], [1, 0, 1, 0]])
    assert (type(state_mask), state_mask.dtype) == (np.ndarray, bool)
    assert peak < 4 << 20


@settings(max_examples=40)
@given(
    st.text("ab", min_size=60, max_size=300),
    st.text("ab", max_size=3),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["columns", "tail"]),
    st.data(),
)
def test_chunks_mark_the_resets_in_both_split_methods(text, separator, B, T, how, data):
    """Use the position of each character as its id.

    A separator can start before the chunk, the stream or the split in which it ends.
    """
    N = len(text)
    starts = sorted(data.draw(st.sets(st.integers(0, N - 1))))
    resets = find_resets(VOCABULARY.encode(text), VOCABULARY.encode(separator), starts)
    split = split_text(np.arange(N), B, T, 0.6, 0.2, how, resets)
    positions = wanted(text, separator, starts)
    for part in (split.train, split.val, split.test):
        for inputs, targets, *state_mask in part:
            assert bool(state_mask) == bool(positions)
            np.testing.assert_array_equal(state_mask or [inputs >= 0], [~np.isin(inputs, positions)])
            np.testing.assert_array_equal(targets, inputs + 1)


@pytest.mark.parametrize(
    ("separator", "words"),
    [
        ("a☃", "reset_on is 'a☃', but '☃' is not in the vocabulary: choose a string that occurs in the text"),
        ("\n", r"reset_on is '\n', but '\n' is not in the vocabulary"),
        ("\ud800", r"reset_on is '\ud800', but '\ud800' is not"),
        (5, "reset_on is 5; it must be text"),
        (["a"], "reset_on is ['a']; it must be text"),
        (None, "reset_on is None; it must be text"),
    ],
)
def test_an_invalid_separator(separator, words):
    with pytest.raises(MinicharError) as caught:
        separator_ids(separator, VOCABULARY)
    assert str(caught.value).startswith(words)
