import numpy as np
import pytest

from minichar.bench.ours import vocabulary
from minichar.bench.work import MANY, PIECE, Work
from minichar.errors import MinicharError


def test_the_arithmetic_of_a_chunk_counted_by_hand():
    work = Work(rnn_size=3, num_layers=2, vocab_size=7, seq_length=5, batch_size=2)
    first, second, readout = 4 * 3 * (3 + 1), 4 * 3 * (3 + 3 + 1), 7 * (3 + 1)
    assert work.characters == 10
    assert work.flop == 3 * 2 * 10 * (first + second + readout)
    assert Work(**work.describe() | {"kind": "evaluate"}).flop == 2 * 10 * (first + second + readout)


def test_sampling_counts_what_is_written():
    assert Work("sample", batch_size=9).characters == PIECE
    assert Work("sample-many", batch_size=9).characters == MANY * PIECE


def test_only_what_its_name_says_is_switched_on():
    assert (Work("train").config().dropout, Work("train").true_share) == (0, 1)
    assert (Work("dropout").config().dropout, Work("dropout").true_share) == (0.5, 1)
    assert (Work("scheduled-sampling").config().dropout, Work("scheduled-sampling").true_share) == (0, 0.9)


def test_few_characters_make_up_most_of_what_is_read():
    ids = Work(vocab_size=7000, seq_length=50, batch_size=50).ids()
    assert ids.shape == (51, 50)
    assert ids.min() >= 0
    assert ids.max() < 7000
    counts = np.sort(np.bincount(ids.ravel()))[::-1]
    assert counts[:100].sum() > 0.4 * ids.size
    assert 500 < np.count_nonzero(counts) < 1500


@pytest.mark.parametrize("V", [1, 65, 0xD800 - 0x20, 0xD801])
def test_a_vocabulary_of_any_size(V):
    assert len(vocabulary(V)) == V


def test_work_that_there_is_not():
    with pytest.raises(MinicharError, match="no work called 'juggle' by 'minichar'"):
        Work("juggle")
    with pytest.raises(MinicharError, match="rnn_size is 0"):
        Work(rnn_size=0)
