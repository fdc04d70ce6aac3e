import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minichar.errors import MinicharError
from minichar.text import resets as module
from minichar.text.batches import split_text
from minichar.text.resets import Resets, find_resets, separator_ids
from minichar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("ab")


def found(text, separator, **options):
    resets = find_resets(VOCABULARY.encode(text), VOCABULARY.encode(separator), **options)
    return [] if resets is None else resets.positions.tolist()


@given(st.text("ab", max_size=40), st.text("ab", min_size=1, max_size=5), st.integers(1, 7))
def test_every_occurrence_is_found_in_blocks_of_any_size(text, separator, block):
    """Occurrences can overlap and can straddle a block boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        wanted = [end - 1 for end in range(len(text) + 1) if text[:end].endswith(separator)]
        assert found(text, separator) == wanted


def test_starts_of_files_are_resets_too():
    assert found("aabab", "b", starts=np.array([0, 2, 3])) == [0, 2, 3, 4]
    assert found("aaaa", "b", starts=[0, 3]) == [0, 3]


def test_without_a_separator_there_are_no_resets():
    assert find_resets(VOCABULARY.encode("ab"), VOCABULARY.encode("")) is None
    assert found("ab", "", starts=[1]) == [1]


def test_a_long_text_is_searched_in_little_memory(tmp_path):
    """The ids can be memory-mapped. The test searches 16 MB of ids in blocks of 1 MB."""
    ids = np.memmap(tmp_path / "ids", np.uint8, "w+", shape=16 << 20)
    ids[(1 << 20) - 1 : (1 << 20) + 1] = 1
    tracemalloc.start()
    positions = find_resets(ids, np.array([1, 1])).positions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert positions.tolist() == [1 << 20]
    assert type(positions) is np.ndarray
    assert peak < 4 << 20


def test_a_separator_takes_8_bytes(monkeypatch):
    """The positions are not copied again after the blocks have been joined."""
    monkeypatch.setattr(module, "BLOCK", 1 << 14)
    ids = np.zeros(1 << 20, np.uint8)
    tracemalloc.start()
    positions = find_resets(ids, np.array([0])).positions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert positions.nbytes == 8 << 20
    assert peak < 18 << 20


@given(
    st.integers(60, 300),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["columns", "tail"]),
    st.data(),
)
def test_chunks_mark_the_resets_in_both_split_methods(N, B, T, how, data):
    """Use the position of each character as its id."""
    positions = np.array(sorted(data.draw(st.sets(st.integers(0, N - 1)))), np.int64)
    resets = Resets(positions, np.zeros(1, np.int64))
    split = split_text(np.arange(N), B, T, 0.6, 0.2, how, resets)
    for part in (split.train, split.val, split.test):
        for inputs, targets, keep in part:
            np.testing.assert_array_equal(keep, ~np.isin(inputs, positions))
            assert keep.dtype == bool
            np.testing.assert_array_equal(targets, inputs + 1)


def test_chunks_without_resets_contain_only_inputs_and_targets():
    assert {len(chunk) for chunk in split_text(np.arange(100), 2, 5).train} == {2}


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
