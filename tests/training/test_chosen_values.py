"""Test the values that are chosen to suit the text, and the notes about them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TEXT, take, toy_settings

from minichar.errors import MinicharError
from minichar.training.choose import CHOOSERS, Facts, TimeBudget, choose
from minichar.training.settings import Settings
from minichar.training.start import begin, resume
from minichar.training.text import layout_of

AUTOMATIC = dict.fromkeys([*CHOOSERS, "eval_val_every"])
"""Every option that can be automatic, with the value None."""
RARE = "".join(map(chr, range(1000, 1300))) * 3
"""A short text in which many characters are rare."""


def corpus(N, V):
    """Return a corpus of `N` characters, `V` of which are distinct."""
    return SimpleNamespace(ids=np.broadcast_to(np.uint8(0), N), vocabulary=range(V), path="a.txt", val=None)


NETWORK = ("model", "num_layers", "rnn_size")
NAMES = (*NETWORK, "batch_size", "max_epochs", "dropout", "weight_decay", "learning_rate")


@pytest.mark.parametrize(
    ("N", "V", "minutes", "chosen"),
    [
        (5_000, 60, 3, ("lstm", 2, 104, 4, 98.7, 0.3, 0.8, 0.014)),
        (20_000, 80, 3, ("lstm", 2, 208, 4, 63.8, 0.3, 0.5, 0.0085)),
        (200_000, 80, 3, ("lstm", 2, 224, 40, 19.5, 0.19, 0.126, 0.013)),
        (1_000_000, 80, 3, ("lstm", 2, 192, 48, 5.17, 0.0, 0.048, 0.015)),
        (1_000_000, 80, 60, ("lstm", 2, 544, 48, 15.9, 0.26, 0.048, 0.0068)),
        (10_000_000, 80, 3, ("lstm", 2, 176, 48, 0.597, 0.0, 0.012, 0.016)),
        (30_000, 2_500, 3, ("gru", 1, 304, 6, 36.1, 0.5, 0.4, 0.008)),
        (100_000, 3_000, 1, ("gru", 1, 208, 20, 8.08, 0.16, 0.4, 0.008)),
        (600_000, 4_000, 3, ("lstm", 1, 144, 48, 5.66, 0.02, 0.065, 0.018)),
    ],
)
def test_values_suit_the_text_and_the_time(N, V, minutes, chosen):
    settings = choose(Settings(), corpus(N, V), budget=TimeBudget(60 * minutes))
    assert tuple(getattr(settings, name) for name in NAMES) == chosen
    assert [name for name in AUTOMATIC if getattr(settings, name) is None] == ["eval_val_every"]


@pytest.mark.parametrize(("recipe", "minutes"), [("quick", 3), ("laptop", 15), ("best", 60)])
def test_recipes_are_plans_for_the_nominal_machine(recipe, minutes):
    settings, text = Settings(recipe=recipe), corpus(1_000_000, 80)
    assert choose(settings, text) == choose(settings, text, budget=TimeBudget(60 * minutes))
    assert choose(settings, text) != choose(settings, text, budget=TimeBudget(50 * minutes))


@given(
    st.floats(3, 7.3).map(lambda x: int(10**x)),
    st.floats(1, 1.1),
    st.floats(0.5, 3.8).map(lambda x: int(10**x)),
    st.floats(-0.5, 2).map(lambda x: 10**x),
)
@settings(max_examples=15)
def test_there_are_no_cliffs(N, longer, V, minutes):
    """For a slightly longer text, the values are slightly different."""
    V = min(V, N // 2)
    plans = []
    for length in (N, int(N * longer)):
        text = corpus(length, V)
        values = choose(Settings(), text, budget=TimeBudget(60 * minutes))
        plans.append((values, values.max_epochs * layout_of(text, values).parts[0]))
    (a, steps_a), (b, steps_b) = plans
    if (a.model, a.tied) == (b.model, b.tied):  # each changes at one point
        assert abs(a.rnn_size - b.rnn_size) <= (8 if max(a.rnn_size, b.rnn_size) <= 128 else 16)
        assert abs(a.dropout - b.dropout) <= 0.051
        assert abs(a.weight_decay - b.weight_decay) <= 0.051
        assert 0.8 <= steps_a / steps_b <= 1.25


def test_the_embedding_the_cell_and_the_layers_change_at_one_point():
    assert [choose(Settings(), corpus(100_000, V)).num_layers for V in (256, 257)] == [2, 1]
    before, after = (choose(Settings(), corpus(2500 * 50 - rare, 50)) for rare in (1, 0))
    assert (before.tied, before.embedding) == (True, before.rnn_size)
    assert (after.tied, after.embedding) == (False, 0)
    assert choose(Settings(), corpus(2500 * 257, 257)).embedding == 64
    before, after = (choose(Settings(), corpus(40 * 2_000 - rare, 2_000)) for rare in (1, 0))
    assert (before.model, before.layer_norm) == ("gru", True)
    assert (after.model, after.layer_norm) == ("lstm", False)


RARE_TEXT, LONG = (30_000, 3_000), (1_000_000, 80)


@pytest.mark.parametrize(
    ("text", "requested", "chosen"),
    [
        (RARE_TEXT, {"layer_norm": False}, {"model": "lstm"}),
        (RARE_TEXT, {"layer_norm": True}, {"model": "gru"}),
        (RARE_TEXT, {"model": "gru"}, {"layer_norm": False}),
        (RARE_TEXT, {"tied": False}, {"embedding": 64}),
        (LONG, {"layer_norm": True}, {"model": "lstm", "learning_rate": 8e-3}),
        (LONG, {"rnn_size": 96, "tied": True}, {"embedding": 96}),
        ((20_000, 80), {}, {"rnn_size": 208, "dropout": 0.3}),
        ((20_000, 80), {"rnn_size": 128}, {"dropout": 0.11}),  # 0.3 times (128 / 208)²
        ((20_000, 80), {"rnn_size": 416}, {"dropout": 0.11}),  # fewer epochs
        ((20_000, 80), {"rnn_size": 128, "embedding": 64, "tied": False}, {"dropout": 0.11}),
        (LONG, {"tied": False}, {"embedding": 0}),
        (RARE_TEXT, {"embedding": 0}, {"tied": False}),
        (LONG, {"model": "rnn"}, {"learning_rate": 5e-3}),
        (LONG, {"model": "gru"}, {"learning_rate": 8e-3}),
        (LONG, {"num_layers": 3}, {"rnn_size": 160}),  # 192 for two layers
        (LONG, {"rnn_size": 128}, {"learning_rate": 2e-2}),
        (LONG, {"rnn_size": 512}, {"learning_rate": 7.1e-3}),
        (LONG, {"rnn_size": 128, "num_layers": 3}, {"learning_rate": 8e-3}),
        (LONG, {"rnn_size": 128, "batch_size": 12}, {"learning_rate": 1.5e-2}),
        (LONG, {"max_epochs": 100.0}, {"warmup": 0.00506, "patience": 10}),
        (LONG, {"eval_val_every": 7}, {"max_val_chunks": 1}),
        (LONG, {"eval_val_every": 16}, {"max_val_chunks": 2}),
        (LONG, {}, {"max_val_chunks": 396 // 8}),  # as if there were an evaluation after each epoch
        ((20_000_000, 80), {"max_epochs": 0.5}, {"max_val_chunks": 7916 // 2 // 8}),
    ],
)
def test_values_suit_the_options_that_were_requested(text, requested, chosen):
    values = choose(Settings(**requested), corpus(*text))
    assert {name: getattr(values, name) for name in requested | chosen} == requested | chosen


@pytest.mark.parametrize("requested", [512, 10**9])
def test_a_batch_size_that_the_text_cannot_fill_is_planned_as_the_reduced_one(requested):
    text = corpus(20_000, 60)
    values = choose(Settings(batch_size=requested), text)
    reduced = layout_of(text, values).B
    assert values == replace(choose(Settings(batch_size=reduced), text), batch_size=requested)
    assert reduced < requested


@pytest.mark.parametrize("text", [RARE_TEXT, LONG])
def test_fine_tuning_has_no_weight_decay_and_a_low_learning_rate(text):
    values = choose(Settings(rnn_size=128), corpus(*text), from_scratch=False)
    assert (values.weight_decay, values.learning_rate) == (0.0, 8e-3)


def sizes(N, split, B=None, T=None):
    """Return the batch size and the sequence length for a text that `split` splits into chunks."""
    facts = Facts(N, 2, True, split, TimeBudget(60))
    B = B or CHOOSERS["batch_size"](facts, Settings(seq_length=T))
    return B, T or CHOOSERS["seq_length"](facts, Settings(batch_size=B))


def leaving_out(count):
    """Return a function that leaves out ``count(B, T)`` characters of the text."""
    return lambda B, T: SimpleNamespace(B=B, T=T, left_out=count(B, T))


@pytest.mark.parametrize(
    ("N", "T", "B"),
    [(240_000, None, 48), (239_999, None, 47), (20_000, None, 4), (500, None, 4), (50_000, 100, 5)],
)
def test_the_batch_size_allows_a_hundred_chunks(N, T, B):
    assert sizes(N, leaving_out(lambda B, T: 0), T=T) == (B, T or 50)


def test_the_longest_sequence_that_leaves_out_at_most_one_per_cent_is_chosen():
    """If all leave out more, the one that leaves out the least is chosen."""
    left_out = {50: 300, 49: 101, 48: 100, 47: 0}
    assert sizes(10_000, leaving_out(lambda B, T: left_out.get(T, 0)), B=20) == (20, 48)
    for best, T in ((48, 48), (10, 47)):
        assert sizes(10_000, leaving_out(lambda B, T, best=best: 200 + abs(T - best)), B=20) == (20, T)


def test_all_chosen_values_are_used_and_stored_and_kept_when_the_run_is_resumed(tmp_path):
    trainer = begin(toy_settings(tmp_path, RARE, **AUTOMATIC)).trainer
    settings, model, split = trainer.settings, trainer.model, trainer.split
    shape = model.config.model, model.config.layer_norm, model.config.rnn_size, model.config.dropout
    assert shape == (settings.model, settings.layer_norm, settings.rnn_size, settings.dropout)
    assert shape == ("gru", True, 304, 0.5)
    assert (model.config.embedding, model.config.tied) == (settings.embedding, settings.tied) == (304, True)
    assert trainer.step.optimiser.weight_decay == settings.weight_decay == 0.4
    assert (split.B, split.T) == (settings.batch_size, settings.seq_length) == (4, 50)
    assert trainer.timetable.settings == settings
    take(trainer, 1)
    (path,) = trainer.saver.saved
    assert path.name.startswith("lm_gru_")
    run = resume(path, AUTOMATIC)
    assert (run.changes, run.trainer.settings) == ({}, settings)
    assert Settings(**run.trainer.model.details["settings"]) == settings


def test_values_chosen_for_fine_tuning_are_kept_when_the_run_is_resumed(tmp_path):
    settings = toy_settings(tmp_path, **AUTOMATIC | {"model": "rnn", "rnn_size": 8, "max_epochs": 0.25})
    trainer = begin(settings, model=begin(settings).trainer.model, given=AUTOMATIC).trainer
    assert (trainer.settings.warmup, trainer.settings.weight_decay) == (0.1, 0.0)
    list(trainer.run())
    assert [row["iteration"] for row in trainer.history] == [trainer.iterations], "less than an epoch"
    run = resume(trainer.saver.last, {"warmup": None, "weight_decay": None, "max_epochs": 1.0})
    assert (run.changes, run.trainer.settings.warmup) == ({"max_epochs": 1.0}, 0.1)


def test_the_number_of_validation_chunks_is_reported_and_kept_when_a_run_is_resumed(tmp_path):
    settings = toy_settings(tmp_path, max_val_chunks=None, eval_val_every=48, train_frac=0.8, val_frac=0.2)
    run = begin(settings)
    assert run.trainer.settings.max_val_chunks == len(run.trainer.val) == 6
    assert "each evaluation uses 6 of 7 validation chunks" in run.notes
    take(run.trainer, 5)
    resumed = resume(run.trainer.saver.saved[-1], {"eval_val_every": 1000})
    assert resumed.trainer.settings.max_val_chunks == len(resumed.trainer.val) == 6


@pytest.mark.parametrize(
    ("N", "B", "T", "used", "reduced"),
    [
        (40, None, None, (1, 12), ""),
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
    words = "but one training and one validation chunk need 17: use a longer text"
    with pytest.raises(MinicharError, match=f"input.txt' has 2 characters, {words}$"):
        begin(toy_settings(tmp_path, "ab", batch_size=None, seq_length=None))
