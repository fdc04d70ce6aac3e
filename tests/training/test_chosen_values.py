"""Test the values that are chosen to suit the text, and the notes about them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import TEXT, take, toy_settings

from minichar.errors import MinicharError
from minichar.text.batches import split_text
from minichar.training import choose as choose_module
from minichar.training.choose import CHOOSERS, Facts, choose
from minichar.training.settings import Settings
from minichar.training.start import begin, begin_from, resume

AUTOMATIC = dict.fromkeys([*CHOOSERS, "eval_val_every"])
"""Every option that can be automatic, with the value None."""
RARE = "".join(map(chr, range(1000, 1300))) * 3
"""A short text in which many characters are rare."""
SHORT, LONG = 100_000, 100_001


def corpus(N, V):
    """Return a corpus of `N` characters, `V` of which are distinct."""
    return SimpleNamespace(ids=np.broadcast_to(np.uint8(0), N), vocabulary=range(V), path="a.txt", val=None)


IN_SHORT = {"dropout": 0.5, "tied": True, "warmup": 0.0, "learning_rate": 8e-3, "patience": 10}
FEW = {"model": "lstm", "layer_norm": False, "rnn_size": 256, "embedding": 256, "weight_decay": 0.2}
MANY = {"model": "gru", "layer_norm": True, "rnn_size": 384, "embedding": 384, "weight_decay": 0.4}
IN_LONG = {"model": "lstm", "layer_norm": False, "rnn_size": 128, "dropout": 0.0, "tied": False}
IN_LONG |= {"weight_decay": 0.0, "warmup": 0.1}


@pytest.mark.parametrize(
    ("N", "V", "chosen"),
    [
        (SHORT, 256, IN_SHORT | FEW | {"max_epochs": 54}),  # 5000 steps are 53.2 epochs of 94 chunks
        (SHORT, 257, IN_SHORT | MANY | {"max_epochs": 54}),
        (LONG, 256, IN_LONG | {"embedding": 0, "patience": 10, "max_epochs": 27}),  # 2500 steps
        (LONG, 257, IN_LONG | {"embedding": 64, "patience": 10, "max_epochs": 27}),
        (5_000_000, 2, IN_LONG | {"learning_rate": 2e-2, "patience": 10, "max_epochs": 2}),
        (5_000_001, 2, IN_LONG | {"learning_rate": 2e-2, "patience": 0, "max_epochs": 2}),
        (10_000_000, 2, IN_LONG | {"patience": 0, "max_epochs": 2500 / 3799}),
    ],
)
def test_values_suit_the_text(N, V, chosen):
    settings = choose(Settings(), corpus(N, V))
    assert {name: getattr(settings, name) for name in chosen} == chosen
    assert [name for name in AUTOMATIC if getattr(settings, name) is None] == ["eval_val_every"]


@pytest.mark.parametrize(
    ("N", "V", "requested", "chosen"),
    [
        (SHORT, 257, {"layer_norm": False}, {"model": "lstm"}),
        (SHORT, 257, {"layer_norm": True}, {"model": "gru"}),
        (SHORT, 257, {"model": "gru"}, {"layer_norm": False}),
        (SHORT, 256, {"layer_norm": True}, {"model": "lstm"}),
        (SHORT, 256, {"dropout": 0.0}, {"rnn_size": 128}),
        (SHORT, 257, {"dropout": 0.0}, {"rnn_size": 128}),
        (LONG, 257, {"dropout": 0.5}, {"rnn_size": 128}),
        (SHORT, 257, {"rnn_size": 96}, {"embedding": 96}),
        (LONG, 2, {"rnn_size": 96, "tied": True}, {"embedding": 96}),
        (SHORT, 257, {"tied": False}, {"embedding": 64}),
        (SHORT, 257, {"embedding": 5}, {"tied": False}),
        (SHORT, 2, {"model": "gru"}, {"warmup": 0.0}),
        (SHORT, 2, {"model": "rnn"}, {"warmup": 0.1}),
        (250_000, 2, {}, {"batch_size": 50, "learning_rate": 2e-2}),
        (250_000, 2, {"model": "rnn"}, {"learning_rate": 5e-3}),
        (250_000, 2, {"model": "gru"}, {"learning_rate": 8e-3}),
        (250_000, 2, {"rnn_size": 256, "num_layers": 2}, {"learning_rate": 2e-2}),
        (250_000, 2, {"rnn_size": 257}, {"learning_rate": 8e-3}),
        (250_000, 2, {"num_layers": 3}, {"learning_rate": 8e-3}),
        (250_000, 2, {"layer_norm": True}, {"learning_rate": 8e-3}),
        (249_999, 2, {}, {"batch_size": 49, "learning_rate": 8e-3}),
        (LONG, 2, {"batch_size": 50}, {"learning_rate": 2e-2}),
        (SHORT, 2, {"batch_size": 50}, {"learning_rate": 8e-3}),
        (LONG, 2, {"batch_size": 50, "seq_length": 5000}, {"learning_rate": 8e-3}),  # B is reduced
        (SHORT, 2, {"eval_val_every": 7}, {"max_val_chunks": 1}),
        (SHORT, 2, {"eval_val_every": 15}, {"max_val_chunks": 1}),
        (SHORT, 2, {"eval_val_every": 16}, {"max_val_chunks": 2}),
        (SHORT, 2, {"eval_val_every": 2500}, {"max_val_chunks": 312}),
        (SHORT, 2, {}, {"max_val_chunks": 94 // 8}),  # as if there were an evaluation after each epoch
        (10_000_000, 2, {}, {"max_val_chunks": 2500 // 8}),  # an epoch has 3799 chunks
    ],
)
def test_values_suit_the_options_that_were_requested(N, V, requested, chosen):
    settings = choose(Settings(**requested), corpus(N, V))
    assert {name: getattr(settings, name) for name in requested | chosen} == requested | chosen


@pytest.mark.parametrize(("N", "V"), [(SHORT, 256), (SHORT, 257), (250_000, 256)])
def test_fine_tuning_has_warmup_but_no_weight_decay_and_the_lower_learning_rate(N, V):
    settings = choose(Settings(), corpus(N, V), from_scratch=False)
    assert (settings.warmup, settings.weight_decay, settings.learning_rate) == (0.1, 0.0, 8e-3)


def sizes(N, split, B=None, T=None):
    """Return the batch size and the sequence length for a text that `split` splits into chunks."""
    facts = Facts(N, 2, True, split)
    B = B or CHOOSERS["batch_size"](facts, Settings(seq_length=T))
    return B, T or CHOOSERS["seq_length"](facts, Settings(batch_size=B))


def leaving_out(count):
    """Return a function that leaves out ``count(B, T)`` characters of the text."""
    return lambda B, T: SimpleNamespace(B=B, T=T, left_out=count(B, T))


@pytest.mark.parametrize(
    ("N", "B"), [(1_000_000, 50), (250_000, 50), (249_999, 49), (30_000, 6), (20_000, 4), (500, 4)]
)
def test_the_batch_size_allows_a_hundred_chunks(N, B):
    assert sizes(N, leaving_out(lambda B, T: 0)) == (B, 50)


def test_the_batch_size_depends_on_the_requested_sequence_length():
    assert sizes(50_000, leaving_out(lambda B, T: 0), T=100) == (5, 100)


def test_the_longest_sequence_that_leaves_out_at_most_one_per_cent_is_chosen():
    left_out = {50: 300, 49: 101, 48: 100, 47: 0}
    assert sizes(10_000, leaving_out(lambda B, T: left_out.get(T, 0)), B=20) == (20, 48)


@pytest.mark.parametrize(("best", "T"), [(31, 31), (10, 25)])
def test_if_all_leave_out_more_the_least_is_left_out(best, T):
    assert sizes(10_000, leaving_out(lambda B, T: 200 + abs(T - best)), B=20) == (20, T)


def test_if_all_leave_out_more_than_two_per_cent_another_batch_size_is_chosen():
    split = leaving_out(lambda B, T: 20 + (B != 6) + (T != 33))
    assert sizes(1_050, split) == (4, 33), "21 characters are 2%"
    assert sizes(1_049, split) == (6, 33)
    assert sizes(1_049, leaving_out(lambda B, T: 30 - B)) == (7, 50), "B is less than 8"
    assert sizes(1_049, split, B=4) == (4, 33), "B was requested"
    assert sizes(1_049, split, T=40) == (6, 40), "T was requested"
    assert sizes(25_000, leaving_out(lambda B, T: 600), T=50) == (5, 50), "the text is not very short"


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

    def split(B, T):
        return split_text(ids, B, T, how=how)

    B, T = sizes(N, split)
    found = split(B, T)
    assert (B, T) == (found.B, found.T), "they fit the text"
    assert found.left_out <= 0.02 * N


def test_requested_values_are_kept(tmp_path):
    settings = toy_settings(tmp_path, TEXT)
    assert None not in {getattr(settings, name) for name in CHOOSERS}
    assert begin(settings).trainer.settings == settings


def test_all_chosen_values_are_used_and_stored_and_kept_when_the_run_is_resumed(tmp_path):
    trainer = begin(toy_settings(tmp_path, RARE, **AUTOMATIC)).trainer
    settings, model, split = trainer.settings, trainer.model, trainer.split
    shape = model.config.model, model.config.layer_norm, model.config.rnn_size, model.config.dropout
    assert shape == (settings.model, settings.layer_norm, settings.rnn_size, settings.dropout)
    assert shape == ("gru", True, 384, 0.5)
    assert (model.config.embedding, model.config.tied) == (settings.embedding, settings.tied) == (384, True)
    assert trainer.step.optimiser.weight_decay == settings.weight_decay == 0.4
    assert (split.B, split.T) == (settings.batch_size, settings.seq_length) == (4, 32)
    assert trainer.timetable.settings == settings
    take(trainer, 1)
    (path,) = trainer.saver.saved
    assert path.name.startswith("lm_gru_")
    run = resume(path, AUTOMATIC)
    assert (run.changes, run.trainer.settings) == ({}, settings)
    assert Settings(**run.trainer.model.details["settings"]) == settings


def test_values_chosen_for_fine_tuning_are_kept_when_the_run_is_resumed(tmp_path):
    settings = toy_settings(tmp_path, **AUTOMATIC | {"model": "rnn", "rnn_size": 8})
    model = begin(settings).trainer.model
    trainer = begin_from(settings, model, AUTOMATIC).trainer
    assert (trainer.settings.warmup, trainer.settings.weight_decay) == (0.1, 0.0)
    take(trainer, 5)
    run = resume(trainer.saver.saved[-1], {"warmup": None, "weight_decay": None})
    assert (run.changes, run.trainer.settings) == ({}, trainer.settings)


def test_a_run_on_a_long_text_can_be_shorter_than_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(choose_module, "SHORT", 0)
    monkeypatch.setattr(choose_module, "STEPS", 7)
    trainer = begin(toy_settings(tmp_path, max_epochs=None)).trainer
    assert trainer.iterations == 7
    list(trainer.run())
    assert trainer.iteration == 7
    assert [row["iteration"] for row in trainer.history] == [7]


def test_the_number_of_validation_chunks_is_reported_and_kept_when_a_run_is_resumed(tmp_path):
    settings = toy_settings(tmp_path, max_val_chunks=None, eval_val_every=48, train_frac=0.8, val_frac=0.2)
    run = begin(settings)
    assert run.trainer.settings.max_val_chunks == len(run.trainer.val) == 6
    assert "each evaluation uses 6 of 7 validation chunks" in run.notes
    take(run.trainer, 5)
    resumed = resume(run.trainer.saver.saved[-1], {"eval_val_every": 1000})
    assert resumed.trainer.settings.max_val_chunks == len(resumed.trainer.val) == 6


def test_without_a_limit_all_validation_chunks_are_used(tmp_path):
    run = begin(toy_settings(tmp_path, max_val_chunks=0, train_frac=0.8, val_frac=0.2))
    assert len(run.trainer.val) == len(run.trainer.split.val) == 7
    assert run.notes == ()


@pytest.mark.parametrize(
    ("N", "B", "T", "used", "reduced"),
    [
        (100, None, None, (1, 49), ""),
        (40, None, None, (1, 13), ""),
        (100, 64, None, (1, 49), "the batch size from 64 to 1"),
        (100, None, 40, (1, 40), ""),
        (100, None, 5000, (1, 39), "the sequence length from 5,000 to 39"),
        (100, 2, 5000, (1, 39), "the batch size from 2 to 1 and the sequence length from 5,000 to 39"),
    ],
)
def test_only_sizes_that_were_requested_are_reported_as_too_large(N, B, T, used, reduced, tmp_path):
    run = begin(toy_settings(tmp_path, TEXT[:N], batch_size=B, seq_length=T))
    notes = (f"{run.corpus.path!r} has only {N} characters: reduced {reduced}",) if reduced else ()
    assert run.notes == notes
    assert used == (run.trainer.split.B, run.trainer.split.T)


def test_error_for_a_short_text_names_the_file(tmp_path):
    with pytest.raises(MinicharError, match=r"input.txt' has 2 characters, .*: use at least 17$"):
        begin(toy_settings(tmp_path, "ab", batch_size=None, seq_length=None))
