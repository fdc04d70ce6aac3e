from dataclasses import replace

import bench_minichar
import numpy as np
import pytest
from bench_work import KINDS, MANY, PIECE, Work

from minichar.devices.choose import open_backend
from minichar.model import CharRNN

SMALL = Work(rnn_size=8, num_layers=1, vocab_size=11, seq_length=4, batch_size=3)


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
    assert 0 <= ids.min() <= ids.max() < 7000
    counts = np.sort(np.bincount(ids.ravel()))[::-1]
    assert counts[:100].sum() > 0.4 * ids.size
    assert 500 < np.count_nonzero(counts) < 1500


@pytest.mark.parametrize("kind", KINDS)
def test_every_benchmark_runs(kind):
    unit = bench_minichar.prepare(replace(SMALL, kind=kind))
    assert unit() is unit() is None


def test_training_reduces_the_loss():
    model = CharRNN.new(SMALL.config(), bench_minichar.vocabulary(11), seed=1, backend=open_backend("cpu"))
    network, ids = model.network(SMALL.seq_length, SMALL.batch_size), SMALL.ids()

    def loss():
        network.reset()
        return float(network.measure(ids[:-1], ids[1:]))

    unit, first = bench_minichar.training(SMALL, model, model.parameters.backend), loss()
    for _ in range(60):
        unit()
    assert loss() < first - 0.1
