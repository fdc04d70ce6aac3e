import re
import sys
from fractions import Fraction
from itertools import pairwise
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minichar.errors import MinicharError
from minichar.text.batches import MIN_T, Chunks, split_text
from minichar.text.resets import find_resets


def positions(N):
    """Return N ids, each equal to its position. They are not adjacent in memory."""
    return np.arange(N, dtype=np.uint32).repeat(2)[::2]


SIZES = {"N": st.integers(200, 500), "B": st.integers(1, 5), "T": st.integers(1, 7)}
FRACTIONS = st.sampled_from([(0.95, 0.05), (0.5, 0.5), (0.7, 0.2), (0.8, 0), (1, 0), (0.6, 0.1)])


@pytest.mark.parametrize("how", ["columns", "tail"])
@settings(max_examples=20)
@given(**SIZES, fractions=FRACTIONS)
def test_each_part_is_laid_out_as_streams(how, N, B, T, fractions):
    """The whole text for ``columns``, whose chunks are then divided, and each split for ``tail``."""
    split = split_text(positions(N), B, T, *fractions, how=how)
    assume(split.B == B and split.T == T)
    parts, bounds = [split.train, split.val, split.test], [0, N]
    if how == "columns":
        parts = [[*split.train, *split.val, *split.test]]
    else:
        train, val = (Fraction(str(fraction)) for fraction in fractions)
        end = floor(N * train)
        bounds[1:1] = [end, N if train + val == 1 else end + floor(N * val)]
    for part, (start, end) in zip(parts, pairwise(bounds), strict=True):
        n = max(end - start - 1, 0) // (B * T)
        assert len(part) == n
        for k, (inputs, targets) in enumerate(part):
            for b in range(B):
                first = start + (b * n + k) * T
                np.testing.assert_array_equal(inputs[:, b], np.arange(first, first + T))
            np.testing.assert_array_equal(targets, inputs + 1)
            assert targets.max() < end
    assert split.left_out == N - sum(len(part) * B * T + 1 for part in parts if part)


def test_number_of_tinyshakespeare_chunks_is_the_same_as_in_char_rnn():
    split = split_text(np.zeros(1_115_394, np.uint8), B=50, T=50)
    assert (len(split.train), len(split.val), len(split.test)) == (423, 23, 0)
    assert (split.B, split.T, split.how, split.notes) == (50, 50, "columns", ())


def test_a_text_as_long_as_memory_allows_is_laid_out_as_views():
    """On a 32-bit platform, the shape of all windows of a text of a megabyte would be too large for NumPy."""
    ids = np.broadcast_to(np.uint8(0), 50 * isqrt(sys.maxsize))
    assert split_text(ids, B=50, T=50).left_out < 50 * 50


@pytest.mark.parametrize(
    ("n", "train", "val", "expected"),
    [
        (100, 0.29, 0.71, (29, 71, 0)),  # 0.29 * 100 is 28.999999999999996
        (20, 0.95, 1 - 0.95, (19, 1, 0)),  # 1 - 0.95 is 0.050000000000000044
        (30, 1 / 3, 2 / 3, (10, 20, 0)),
        (11, 0.5, 0.25, (5, 2, 4)),
    ],
)
def test_fractions_have_no_rounding_errors(n, train, val, expected):
    split = split_text(positions(n + 1), 1, 1, train, val)
    assert (len(split.train), len(split.val), len(split.test)) == expected


def test_chunks_are_new_contiguous_arrays():
    ids = np.arange(41, dtype=np.intp)
    inputs, targets = split_text(ids, B=2, T=4).train[0]
    for array in (inputs, targets):
        assert array.dtype == np.intp
        assert array.shape == (4, 2)
        assert array.flags.c_contiguous
    inputs[:] = -1
    assert targets.tolist() == [[1, 21], [2, 22], [3, 23], [4, 24]]
    assert ids[0] == 0


def test_chunk_indices_out_of_range_are_rejected():
    chunks = split_text(positions(100), B=2, T=5).train
    for k in (-1, len(chunks)):
        with pytest.raises(IndexError):
            chunks[k]
    for n in (0, 1):  # without a target
        assert list(Chunks(np.empty((3, n), np.uint8), T=4)) == []


@pytest.mark.parametrize(
    ("N", "how", "asked", "used"),
    [
        (1500, "columns", (50, 50), (12, 50)),
        (1500, "tail", (50, 50), (1, 50)),
        (60, "columns", (50, 50), (1, 25)),
        (2 * MIN_T + 1, "columns", (50, 50), (1, MIN_T)),
        (7, "columns", (2, 3), (1, 3)),  # T is below the minimum, as requested
    ],
)
def test_a_short_text_reduces_the_batch_size_and_then_the_sequence_length(N, how, asked, used):
    split = split_text(positions(N), *asked, how=how)
    assert used == (split.B, split.T)
    assert split.notes[0].startswith(f"the text has only {N:,} characters: reduced the batch size from ")
    assert len(split.train) > 0
    assert len(split.val) > 0


@pytest.mark.parametrize("how", ["columns", "tail"])
@pytest.mark.parametrize("fractions", [(0.8, 0.1), (1, 0), (0.01, 0.99)])
def test_error_for_short_text_contains_the_minimum_length(how, fractions):
    with pytest.raises(MinicharError, match="the text has 5 characters") as caught:
        split_text(positions(5), 50, 50, *fractions, how=how)
    assert ("and one validation chunk" in str(caught.value)) == (fractions[1] > 0)
    needed = int(re.search(r"needs? (\d+): use", str(caught.value))[1])
    enough = split_text(positions(needed), 50, 50, *fractions, how=how)
    assert (enough.B, enough.T) == (1, MIN_T)
    with pytest.raises(MinicharError):
        split_text(positions(needed - 1), 50, 50, *fractions, how=how)


@pytest.mark.parametrize(
    ("N", "arguments", "words"),
    [
        (0, (1, 1, 1, 0), r"has 0 characters, but one training chunk needs 2: use a longer text$"),
        (1000, (0, 5), "at least 1"),
        (1000, (5, 0), "at least 1"),
        (1000, (2, 5, 0.95, 0.05, "rows"), "'rows'"),
    ],
)
def test_short_texts_and_invalid_splits_and_sizes_are_rejected(N, arguments, words):
    with pytest.raises(MinicharError, match=words):
        split_text(positions(N), *arguments)


@pytest.mark.parametrize(
    "fractions",
    [(0, 0.5), (-0.1, 0.5), (1.1, 0), (0.9, 0.2), (0.9, -0.1), (float("nan"), 0), (0.5, float("inf"))],
)
def test_invalid_fractions_are_rejected(fractions):
    train, val = map(re.escape, map(str, fractions))
    with pytest.raises(MinicharError, match=f"^train_frac is {train} and val_frac is {val}: "):
        split_text(positions(1000), 2, 5, *fractions)


@pytest.mark.parametrize("how", ["columns", "tail"])
def test_the_first_chunks(how):
    resets = find_resets(positions(400), positions(400)[:0], np.arange(7, 400, 7))
    chunks = split_text(positions(400), 3, 8, 0.5, 0.5, how=how, resets=resets).val
    assert len(chunks) == 8
    for n in (1, 5, 8, 99):
        first = chunks.part(0, n)
        assert len(first) == min(n, 8)
        for found, expected in zip(first, chunks, strict=n >= 8):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
