import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minichar.text import mapping
from minichar.text import novelty as module
from minichar.text.novelty import Novelty, measure_novelty
from minichar.text.vocabulary import code_points

SHORT = st.text("ab", max_size=20)


def naive(text, training, long):
    """Return the length of the longest shared run, and the number of characters in runs of more than `long`.

    This function tries all stretches of the text.
    """
    stretches = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    runs = [(i, j) for i, j in stretches if text[i:j] in training]
    copied = {k for i, j in runs if j - i > long for k in range(i, j)}
    return max((j - i for i, j in runs), default=0), len(copied)


@settings(max_examples=60)
@given(SHORT, SHORT, st.sampled_from([0, 1, 2, 4, 20]), st.integers(1, 7), st.booleans())
@example("abbaab", "abbaab", 20, 7, False)
def test_results_are_exact(text, training, long, block, collide):
    """Neither the size of the blocks nor hash collisions in two searches of three affect the results."""

    def colliding(ids, n, K):
        if K not in used:
            used.append(K)
        h = hashes(ids, n, K)
        return h % np.uint64(3) if collide and used.index(K) % 3 < 2 else h

    used, hashes = [], module._hashes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONG", long)
        patch.setattr(mapping, "BLOCK", block)
        patch.setattr(module, "_hashes", colliding)
        found = measure_novelty(code_points(text), code_points(training))
    assert (found.length, found.copied) == naive(text, training, long)
    assert text[found.start : found.start + found.length] in training


def random_ids(low, high, size, seed=0):
    return np.random.default_rng(seed).integers(low, high, size).astype(np.uint8)


@pytest.mark.parametrize("n", [2, 21, 64, 1_000])
def test_different_windows_have_different_hashes(n):
    """Both texts are hard to hash: many of their windows differ in a few zeros and ones only."""
    thue_morse = np.array([i.bit_count() % 2 for i in range(1 << 14)], np.uint8)
    sparse = (random_ids(0, 100, 1 << 14) == 0).astype(np.uint8)
    for text in (thue_morse, sparse):
        windows = {text[i : i + n].tobytes() for i in range(len(text) - n + 1)}
        assert len(np.unique(module._hashes(text, n, np.uint64(0x9E3779B97F4A7C15)))) == len(windows)


@pytest.fixture
def searches(monkeypatch):
    """Return a list to which each search appends the length of its windows."""

    def search(text, training, n, rng):
        lengths.append(n)
        return found(text, training, n, rng)

    lengths, found = [], module._search
    monkeypatch.setattr(module, "_search", search)
    return lengths


def test_planted_copies_are_found(searches):
    """One search is enough, because the windows around the longest copy also limit its length."""
    training = random_ids(0, 60, 100_000)
    text = random_ids(60, 120, 5_000)
    for start, source, length in ((100, 99_979, 21), (1_000, 5, 300), (2_000, 0, 20), (4_970, 7_000, 30)):
        text[start : start + length] = training[source : source + length]
    assert measure_novelty(text, training) == Novelty(1_000, 300, 21 + 300 + 30)
    assert searches == [21]


@pytest.mark.parametrize(("N", "most"), [(100, 1), (30, 1), (12, 4)])
def test_the_number_of_searches_is_logarithmic(searches, N, most):
    text = np.zeros(10_000, np.uint8)
    assert measure_novelty(text, text[:N]).length == N
    assert len(searches) <= most


@pytest.mark.parametrize("M", [1_000, 30_000])
def test_memory_use(tmp_path, monkeypatch, M):
    """The memory use is proportional to the length of the text and does not depend on the training text's."""
    monkeypatch.setattr(mapping, "BLOCK", 1 << 14)
    training = np.memmap(tmp_path / "ids", np.uint8, "w+", shape=1 << 18)
    training[:] = random_ids(0, 60, 1 << 18)
    text = np.array(training[:M])
    tracemalloc.start()
    assert measure_novelty(text, training).copied == M
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * M + 1_000_000
