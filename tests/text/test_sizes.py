import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minichar.text.batches import split_text
from minichar.text.sizes import (
    choose_dropout,
    choose_embedding,
    choose_max_val_chunks,
    choose_patience,
    choose_rnn_size,
    choose_sizes,
    choose_steps,
    choose_tied,
    choose_warmup,
    choose_weight_decay,
    has_rare_characters,
)


def none_left_out(B, T):
    return 0


@pytest.mark.parametrize(
    ("N", "B"), [(1_000_000, 50), (250_000, 50), (249_999, 49), (30_000, 6), (20_000, 4), (500, 4)]
)
def test_the_batch_size_allows_a_hundred_chunks(N, B):
    assert choose_sizes(N, 0, 0, none_left_out) == (B, 50)


def test_the_batch_size_depends_on_the_requested_sequence_length():
    assert choose_sizes(50_000, 0, 100, none_left_out) == (5, 100)


def test_requested_sizes_are_kept():
    assert choose_sizes(1000, 64, 200, lambda B, T: 999) == (64, 200)


def test_the_longest_sequence_that_leaves_out_at_most_one_per_cent_is_chosen():
    left_out = {50: 300, 49: 101, 48: 100, 47: 0}
    assert choose_sizes(10_000, 20, 0, lambda B, T: left_out.get(T, 0)) == (20, 48)


def test_if_all_leave_out_more_the_least_is_left_out():
    assert choose_sizes(10_000, 20, 0, lambda B, T: 200 + abs(T - 31)) == (20, 31)
    assert choose_sizes(10_000, 20, 0, lambda B, T: 200 + abs(T - 10)) == (20, 25)


def test_if_all_leave_out_more_than_two_per_cent_another_batch_size_is_chosen():
    def left_out(B, T):
        return 20 + (B != 6) + (T != 33)

    assert choose_sizes(1_050, 0, 0, left_out) == (4, 33), "21 characters are 2%"
    assert choose_sizes(1_049, 0, 0, left_out) == (6, 33)
    assert choose_sizes(1_049, 0, 0, lambda B, T: 30 - B) == (7, 50), "B is less than 8"
    assert choose_sizes(1_049, 4, 0, left_out) == (4, 33), "B was requested"
    assert choose_sizes(1_049, 0, 40, left_out) == (6, 40), "T was requested"
    assert choose_sizes(25_000, 0, 50, lambda B, T: 600) == (5, 50), "the text is not very short"


@given(
    st.one_of(
        st.tuples(st.just("columns"), st.integers(50, 400_000)),
        st.tuples(st.just("columns"), st.integers(50, 2_000)),
        st.tuples(st.just("tail"), st.integers(1_000, 400_000)),
    )
)
@example(("columns", 540))  # requires B = 7
def test_at_most_two_per_cent_of_a_text_is_left_out(how_and_length):
    how, N = how_and_length
    ids = np.broadcast_to(np.uint8(0), N)

    def left_out(B, T):
        return split_text(ids, B, T, how=how).left_out

    assert left_out(*choose_sizes(N, 0, 0, left_out)) <= 0.02 * N


def test_only_short_texts_are_trained_with_dropout():
    assert [choose_dropout(N) for N in (1000, 100_000, 100_001)] == [0.5, 0.5, 0.0]


def test_short_texts_are_trained_with_weight_decay_and_more_steps():
    assert [choose_weight_decay(N, False, True) for N in (1000, 100_000, 100_001)] == [0.2, 0.2, 0.0]
    assert [choose_weight_decay(N, True, True) for N in (100_000, 100_001)] == [0.4, 0.0]
    assert [choose_weight_decay(1000, rare, False) for rare in (False, True)] == [0.0, 0.0]
    assert [choose_steps(N) for N in (1000, 100_000, 100_001)] == [5000, 5000, 2500]


def test_runs_on_long_texts_do_not_end_early():
    assert [choose_patience(N) for N in (1000, 5_000_000, 5_000_001)] == [10, 10, 0]


def test_models_of_short_texts_are_larger_if_there_is_dropout():
    cases = (100_000, 0.5), (100_000, 0.0), (100_001, 0.5)
    assert [choose_rnn_size(N, dropout, False) for N, dropout in cases] == [256, 128, 128]
    assert [choose_rnn_size(N, dropout, True) for N, dropout in cases] == [384, 128, 128]


@pytest.mark.parametrize(
    ("N", "model", "from_scratch", "warmup"),
    [
        (100_000, "lstm", True, 0.0),
        (100_000, "gru", True, 0.0),
        (100_000, "rnn", True, 0.1),
        (100_000, "lstm", False, 0.1),
        (100_001, "lstm", True, 0.1),
    ],
)
def test_gated_cells_learn_short_texts_from_scratch_without_warmup(N, model, from_scratch, warmup):
    assert choose_warmup(N, model, from_scratch) == warmup


def test_only_large_vocabularies_have_an_embedding():
    assert [choose_embedding(V, 96, tied=False) for V in (2, 256, 257, 5000)] == [0, 0, 64, 64]
    assert [choose_embedding(V, 96, tied=True) for V in (2, 5000)] == [96, 96]


def test_only_short_texts_have_tied_embeddings():
    assert [choose_tied(N) for N in (1000, 100_000, 100_001)] == [True, True, False]


def test_characters_are_rare_in_short_texts_with_many_distinct_characters():
    assert has_rare_characters(100_000, 257)
    assert not has_rare_characters(100_001, 257)
    assert not has_rare_characters(100_000, 256)


@pytest.mark.parametrize(("steps", "chunks"), [(1, 1), (15, 1), (16, 2), (2500, 312)])
def test_the_number_of_validation_chunks_depends_on_the_steps_between_evaluations(steps, chunks):
    assert choose_max_val_chunks(steps) == chunks
