from dataclasses import replace

import numpy as np
import pytest

from minichar.bench.ours import vocabulary
from minichar.bench.work import MANY, PIECE, Work
from minichar.errors import MinicharError


def test_characters_and_operations_per_iteration():
    """The forward pass takes two operations per weight and character; training takes three times as many."""
    work = Work(rnn_size=3, num_layers=2, vocab_size=7, seq_length=5, batch_size=2)
    first, second, readout = 4 * 3 * (3 + 1), 4 * 3 * (3 + 3 + 1), 7 * (3 + 1)
    assert work.characters == 10
    assert work.flop == 3 * 2 * 10 * (first + second + readout)
    assert replace(work, kind="evaluate").flop == 2 * 10 * (first + second + readout)
    assert Work("sample", batch_size=9).characters == PIECE
    assert Work("sample-many", batch_size=9).characters == MANY * PIECE


@pytest.mark.parametrize(
    ("kind", "dropout", "ratio"), [("train", 0, 1), ("dropout", 0.5, 1), ("scheduled-sampling", 0, 0.9)]
)
def test_each_training_benchmark_enables_only_one_option(kind, dropout, ratio):
    assert (Work(kind).config().dropout, Work(kind).teacher_forcing_ratio) == (dropout, ratio)


def test_ids_have_the_skewed_distribution_of_natural_text():
    ids = Work(vocab_size=7000, seq_length=50, batch_size=50).ids()
    assert ids.shape == (51, 50)
    assert ids.min() >= 0
    assert ids.max() < 7000
    counts = np.sort(np.bincount(ids.ravel()))[::-1]
    assert counts[:100].sum() > 0.4 * ids.size
    assert 500 < np.count_nonzero(counts) < 1500


@pytest.mark.parametrize("V", [1, 65, 1 << 20])
def test_vocabulary_size(V):
    assert len(vocabulary(V).characters.encode()) >= V == len(vocabulary(V))  # there are no surrogates


def test_invalid_parameters_are_rejected():
    with pytest.raises(
        MinicharError, match="unknown benchmark 'juggle' for engine 'minichar': choose one of train"
    ):
        Work("juggle")
    with pytest.raises(MinicharError, match="rnn_size is 0"):
        Work(rnn_size=0)
