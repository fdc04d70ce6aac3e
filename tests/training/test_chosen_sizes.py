"""Test the sizes and other settings that are chosen for the text, and the notes about them."""

from math import ceil

import pytest
from toys import TEXT, take, toy_settings

from minichar.errors import MinicharError
from minichar.text import sizes
from minichar.text.sizes import choose_learning_rate
from minichar.training import text as training_text
from minichar.training.settings import Settings
from minichar.training.start import begin, begin_from, resume


def test_sizes_and_epochs_that_are_zero_are_chosen_for_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SHORT_STEPS", 1000)
    run = begin(toy_settings(tmp_path, TEXT * 20, batch_size=0, seq_length=0, max_epochs=0))
    settings, split = run.trainer.settings, run.trainer.split
    assert (settings.batch_size, settings.seq_length) == (split.B, split.T) == (4, 50)
    assert settings.max_epochs == ceil(1000 / len(split.train)) > 1
    assert Settings(**run.trainer.settings.to_json()) == settings  # stored in checkpoints


def test_a_run_on_a_long_text_can_be_shorter_than_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SHORT", 0)
    monkeypatch.setattr(sizes, "STEPS", 7)
    trainer = begin(toy_settings(tmp_path, max_epochs=0)).trainer
    assert trainer.iterations == 7
    list(trainer.run())
    assert trainer.iteration == 7
    assert [row["iteration"] for row in trainer.history] == [7]


def test_the_patience_suits_the_text(tmp_path, monkeypatch):
    for longest, patience in ((len(TEXT), 10), (len(TEXT) - 1, 0)):
        monkeypatch.setattr(sizes, "MANY", longest)
        trainer = begin(toy_settings(tmp_path, patience=-1)).trainer
        assert trainer.settings.patience == trainer.timetable.settings.patience == patience
        assert begin(toy_settings(tmp_path, patience=3)).trainer.settings.patience == 3


@pytest.mark.parametrize(
    ("shorter", "few", "chosen"),
    [
        (True, True, (256, 0.5, 256, True, 0.2)),
        (True, False, (384, 0.5, 384, True, 0.4)),
        (False, True, (128, 0.0, 0, False, 0.0)),
        (False, False, (128, 0.0, 64, False, 0.0)),
    ],
)
def test_the_model_and_its_regularisation_suit_the_text(shorter, few, chosen, tmp_path, monkeypatch):
    text = "ab cd ef\n" * 100 if few else "".join(map(chr, range(1000, 1300))) * 3  # 900 characters
    monkeypatch.setattr(sizes, "SHORT", 900 if shorter else 899)
    names = ("rnn_size", "dropout", "embedding", "tied", "weight_decay")
    settings = toy_settings(tmp_path, text, **{name: getattr(Settings, name) for name in names})
    trainer = begin(settings).trainer
    config, rate = trainer.model.config, trainer.step.optimiser.weight_decay
    assert (config.rnn_size, config.dropout, config.embedding, config.tied, rate) == chosen
    assert tuple(getattr(trainer.settings, name) for name in names) == chosen


def test_embeddings_can_be_chosen(tmp_path):
    text = "".join(map(chr, range(1000, 1300))) * 3
    untied = begin(toy_settings(tmp_path, text, embedding=-1, tied=False)).trainer.model.config
    assert (untied.embedding, untied.tied) == (64, False)
    tied = begin(toy_settings(tmp_path, embedding=8, tied=True)).trainer.model.config
    assert (tied.embedding, tied.tied) == (8, True)
    chosen = begin(toy_settings(tmp_path, text, embedding=5, tied=None)).trainer.model.config
    assert (chosen.embedding, chosen.tied) == (5, False)
    no_dropout = begin(toy_settings(tmp_path, text, rnn_size=-1, dropout=0.0)).trainer.model.config
    assert no_dropout.rnn_size == 128
    trainer = begin(toy_settings(tmp_path, dropout=0.1, embedding=3)).trainer
    assert not trainer.model.config.tied
    assert (trainer.model.config.dropout, trainer.model.config.embedding) == (0.1, 3)


@pytest.mark.parametrize(
    ("first", "model", "layer_norm", "chosen"),
    [
        (1000, "auto", None, ("gru", True)),
        (1000, "auto", True, ("gru", True)),
        (1000, "auto", False, ("lstm", False)),
        (1000, "gru", None, ("gru", False)),
        (1100, "auto", None, ("lstm", False)),
        (1100, "auto", True, ("lstm", True)),
    ],
)
def test_the_cell_suits_the_text_and_is_kept_when_a_run_is_resumed(
    first, model, layer_norm, chosen, tmp_path
):
    text = "".join(map(chr, range(first, 1300))) * 3
    settings = toy_settings(tmp_path, text, model=model, layer_norm=layer_norm)
    trainer = begin(settings).trainer
    for found in (trainer.settings, trainer.model.config):
        assert (found.model, found.layer_norm) == chosen
    take(trainer, 5)
    path = trainer.saver.saved[-1]
    assert path.name.startswith(f"lm_{chosen[0]}_")
    assert resume(path, {"model": "auto", "layer_norm": None}).trainer.settings == trainer.settings
    fine_tuned = begin_from(settings, trainer.model, ["model", "layer_norm"]).trainer
    assert (fine_tuned.settings.model, fine_tuned.settings.layer_norm) == chosen


@pytest.mark.parametrize(
    ("N", "B", "model", "plain", "rate"),
    [
        (100_001, 50, "lstm", True, 2e-2),
        (100_001, 50, "rnn", True, 5e-3),
        (100_001, 50, "gru", True, 8e-3),
        (100_000, 50, "lstm", True, 8e-3),
        (100_001, 49, "lstm", True, 8e-3),
        (100_001, 50, "lstm", False, 8e-3),
    ],
)
def test_the_learning_rate_suits_the_cell_if_the_text_and_the_batches_are_large(N, B, model, plain, rate):
    assert choose_learning_rate(N, B, model, plain) == rate


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 2e-2),
        ({"learning_rate": 0.3}, 0.3),
        ({"model": "gru"}, 8e-3),
        ({"model": "rnn"}, 5e-3),
        ({"rnn_size": 9}, 8e-3),
        ({"num_layers": 3}, 8e-3),
        ({"layer_norm": True}, 8e-3),
        ({"batch_size": 3}, 8e-3),
        ({"batch_size": 4, "seq_length": 5000, "max_epochs": 99}, 8e-3),  # B is reduced
    ],
)
def test_the_learning_rate_suits_the_model_and_is_kept_when_a_run_is_resumed(
    changes, rate, tmp_path, monkeypatch
):
    monkeypatch.setattr(sizes, "SHORT", len(TEXT) - 1)
    monkeypatch.setattr(sizes, "LARGEST_B", 4)
    monkeypatch.setattr(training_text, "LARGE_H", 8)
    settings = toy_settings(tmp_path, **{"learning_rate": -1, "warmup": 0.0} | changes)
    trainer = begin(settings).trainer
    assert trainer.settings.learning_rate == rate
    fine_tuned = begin_from(settings, trainer.model).trainer
    fine_tuned_rate = 0.3 if "learning_rate" in changes else 8e-3
    assert fine_tuned.settings.learning_rate == fine_tuned_rate
    take(fine_tuned, 5)
    resumed = resume(fine_tuned.saver.saved[-1], {"learning_rate": -1}).trainer
    assert resumed.settings.learning_rate == fine_tuned_rate
    take(trainer, 5)
    path = trainer.saver.saved[-1]
    assert resume(path, {"learning_rate": -1}).trainer.settings.learning_rate == rate
    assert resume(path, {"learning_rate": 0.1}).trainer.settings.learning_rate == 0.1


def test_warmup_and_weight_decay_suit_the_text_and_are_kept_when_a_run_is_resumed(tmp_path):
    settings = toy_settings(tmp_path, warmup=-1, weight_decay=-1)
    trainer = begin(settings).trainer
    assert (trainer.settings.warmup, trainer.settings.weight_decay) == (0.0, 0.2)
    fine_tuned = begin_from(settings, trainer.model).trainer
    assert (fine_tuned.settings.warmup, fine_tuned.settings.weight_decay) == (0.1, 0.0)
    take(fine_tuned, 5)
    resumed = resume(fine_tuned.saver.saved[-1], {"warmup": -1, "weight_decay": -1}).trainer.settings
    assert (resumed.warmup, resumed.weight_decay) == (0.1, 0.0)


@pytest.mark.parametrize(("every", "chosen"), [(0, 2), (48, 6), (7, 1)])
def test_the_number_of_validation_chunks_is_chosen_and_stored(every, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SHORT_STEPS", 16)
    settings = toy_settings(tmp_path, max_val_chunks=-1, eval_val_every=every, train_frac=0.8, val_frac=0.2)
    run = begin(settings)
    assert run.trainer.settings.max_val_chunks == len(run.trainer.val) == chosen
    assert f"each evaluation uses {chosen} of 7 validation chunks" in run.notes
    take(run.trainer, 5)
    resumed = resume(run.trainer.saver.saved[-1], {"eval_val_every": 1000})
    assert resumed.trainer.settings.max_val_chunks == len(resumed.trainer.val) == chosen


def test_without_a_limit_all_validation_chunks_are_used(tmp_path):
    run = begin(toy_settings(tmp_path, max_val_chunks=0, train_frac=0.8, val_frac=0.2))
    assert len(run.trainer.val) == len(run.trainer.split.val) == 7
    assert run.notes == ()


@pytest.mark.parametrize(
    ("N", "B", "T", "sizes", "reduced"),
    [
        (100, 0, 0, (1, 49), ""),
        (40, 0, 0, (1, 13), ""),
        (100, 64, 0, (1, 49), "the batch size from 64 to 1"),
        (100, 0, 40, (1, 40), ""),
        (100, 0, 5000, (1, 39), "the sequence length from 5,000 to 39"),
        (100, 2, 5000, (1, 39), "the batch size from 2 to 1 and the sequence length from 5,000 to 39"),
    ],
)
def test_only_sizes_that_were_requested_are_reported_as_too_large(N, B, T, sizes, reduced, tmp_path):
    run = begin(toy_settings(tmp_path, TEXT[:N], batch_size=B, seq_length=T))
    notes = (f"the text has only {N} characters: reduced {reduced}",) if reduced else ()
    assert run.notes == notes
    assert sizes == (run.trainer.split.B, run.trainer.split.T)


def test_error_for_a_short_text_names_the_file(tmp_path):
    with pytest.raises(MinicharError, match=r"input.txt' has 2 characters, .*: use at least 17$"):
        begin(toy_settings(tmp_path, "ab", batch_size=0, seq_length=0))
