"""Test the options of a resumed run, and the runs that cannot be resumed.

`test_resume.py` checks that resuming is exact.
"""

import re
from pathlib import Path

import pytest
from toys import TEXT, parts, put_together, take, toy_settings

from minichar.checkpoints.checkpoint import load, load_training, save
from minichar.errors import Completed, MinicharError
from minichar.text.pydocs import uncleaned_pydocs_text
from minichar.training.choose import CHOOSERS
from minichar.training.schedules import rates
from minichar.training.start import ARCHITECTURE, FIXED, begin, resume, settings_of

CHANGED = {"model": "gru", "rnn_size": 9, "num_layers": 1, "embedding": 5, "layer_norm": True, "tied": True}
CHANGED |= {"encoding": "cp1252", "min_freq": 1, "reset_on": "e", "split": "tail", "train_frac": 0.5}
CHANGED |= {"val_frac": 0.01, "max_val_chunks": 1, "seq_length": 7, "batch_size": 5, "seed": 1}
CHANGED |= {"dtype": "float64"}


def test_options_that_cannot_change_on_resuming(stopped):
    assert {*CHANGED, "recipe"} == {*FIXED}
    for name, value in CHANGED.items():
        other = "train a new model" if name in ARCHITECTURE else "start a new run with init_from"
        error = f"^{name}={value!r} cannot be used to resume .*: omit the option, or {other}$"
        with pytest.raises(MinicharError, match=error):
            resume(stopped, {name: value})


def test_the_saved_value_of_an_option_that_cannot_change_is_shown_and_can_be_repeated(stopped):
    for name, value, has in (("rnn_size", 9, "8"), ("layer_norm", True, "--no-layer-norm")):
        with pytest.raises(MinicharError) as caught:
            resume(stopped, {name: value})
        assert f"cannot be used to resume {stopped}, which has {has}: omit " in caught.value.with_flags
    run = resume(stopped, {"rnn_size": 8, "seed": 123})
    assert (run.notes, run.changes) == ((), {})


def test_repeating_the_name_of_the_cell_in_the_recipe(tmp_path):
    options = {"recipe": "char-rnn", "model": "gru"}
    trainer = begin(toy_settings(tmp_path, model="gru-reset-before")).trainer
    take(trainer, 1)
    path = trainer.saver.saved[-1]
    assert resume(path, options).changes == {}
    with pytest.raises(MinicharError, match=r"model='gru' .* has gru-reset-before: omit the option"):
        resume(path, {"model": "gru"})


def test_options_that_can_change_on_resuming(stopped):
    changes = {"learning_rate": 0.5, "dropout": 0.1, "weight_drop": 0.1, "weight_decay": 0.1, "max_epochs": 7}
    changes |= {"use_ss": False, "keep": 3, "checkpoint_dir": Path("elsewhere"), "eval_val_every": None}
    run = resume(stopped, changes)
    assert run.changes == changes
    assert run.trainer.settings == run.trainer.timetable.settings
    assert {name: getattr(run.trainer.settings, name) for name in changes} == changes
    for config in (run.trainer.model.config, run.trainer.step.network.config):
        assert (config.dropout, config.weight_drop) == (0.1, 0.1)


def test_the_error_names_the_copy_of_an_older_default_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pydoc_data.topics.topics", {"a": f"{TEXT}\n| table |\n"})
    with monkeypatch.context() as older:
        older.setattr("minichar.text.corpus.update_pydocs", list)
        older.setattr("minichar.text.corpus.pydocs_text", uncleaned_pydocs_text)
        trainer = begin(toy_settings(tmp_path, data=None)).trainer
    take(trainer, 5)
    path = trainer.saver.saved[-1]
    with pytest.raises(MinicharError) as caught:
        resume(path, {})
    assert "specify the original text with --data data/pydocs-older, or start a" in caught.value.with_flags
    assert resume(path, {"data": Path("data/pydocs-older")}).trainer.iteration == 5
    (tmp_path / "data/pydocs-older/input.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(MinicharError, match="the original text with data, or start a new run"):
        resume(path, {})


def test_a_completed_run(tmp_path):
    trainer = begin(toy_settings(tmp_path, max_epochs=1)).trainer
    path = list(trainer.run())[-1].path
    add = f"{path} is at the end of its run, epoch 1.00: to train for 10 more minutes, add "
    with pytest.raises(Completed) as caught:
        resume(path.parent, {"max_epochs": None})
    assert (str(caught.value), caught.value.with_flags) == (f"{add}max_time=10", f"{add}--max-time 10")
    with pytest.raises(Completed, match=r"is at epoch 1.00, and max_epochs is 0\.5: set a larger value to"):
        resume(path, {"max_epochs": 0.5})
    assert resume(path, {"max_epochs": 2}).trainer.iteration == len(trainer.split.train)


def test_automatic_values_keep_those_of_the_run(stopped):
    run = resume(stopped, dict.fromkeys(CHOOSERS))
    assert run.changes == {}
    assert run.trainer.settings == resume(stopped, {}).trainer.settings
    with pytest.raises(MinicharError, match="seed is None; it must be an integer"):
        resume(stopped, {"seed": None})


@pytest.mark.parametrize("stored", [0, 1000])
def test_the_evaluation_interval_of_a_run_of_an_earlier_version(stopped, stored):
    """Earlier versions stored 0 for an automatic interval."""
    header, arrays = parts(stopped)
    header["details"]["settings"]["eval_val_every"] = stored
    trainer = resume(put_together(stopped, header, arrays), {}).trainer
    assert trainer.settings.eval_val_every == (stored or None)
    take(trainer, trainer.iterations)
    per_epoch = len(trainer.split.train)
    evaluated = [2 * per_epoch] if stored else [per_epoch, 2 * per_epoch]
    assert [row["iteration"] for row in trainer.history] == evaluated


def test_settings_that_an_old_checkpoint_lacks_have_the_values_of_char_rnn(tmp_path):
    run = begin(toy_settings(tmp_path, learning_rate=0.01))
    stored = run.trainer.settings.to_json()
    added_later = ["recipe", "patience", "warmup", "weight_decay", "layer_norm", "tied", "epoch_reset"]
    added_later.append("max_val_chunks")
    for name in added_later:
        del stored[name]
    run.trainer.model.details["settings"] = stored
    settings = settings_of(run.trainer.model, Path("old.npz"))
    assert (settings.recipe, settings.learning_rate) == ("", 0.01)
    assert [rates(settings, i, 2, 40)[0] for i in (0, 30)] == [0.01, 0.01 * 0.97**6]
    assert (settings.patience, settings.epoch_reset, settings.max_val_chunks) == (0, True, 0)
    assert (settings.weight_decay, settings.layer_norm, settings.tied) == (0, False, False)


def stopped_with_schedule(directory, schedule):
    """Return a checkpoint as written by an earlier version, which had a setting for the schedule."""
    run = begin(toy_settings(directory))
    take(run.trainer, 5)
    path = run.trainer.saver.saved[-1]
    model, state = load_training(path)
    model.details["settings"]["learning_rate_schedule"] = schedule
    save(path, model, state)
    return path, run.trainer.settings


def test_a_run_with_a_removed_schedule_cannot_be_resumed_but_can_be_evaluated(tmp_path):
    path, settings = stopped_with_schedule(tmp_path, "step")  # the default in these versions
    assert resume(path, {}).trainer.settings == settings
    path, settings = stopped_with_schedule(tmp_path, "cosine")
    assert settings_of(load(path), path) == settings
    message = f"{path} cannot be resumed: minichar no longer has learning_rate_schedule='cosine'; to"
    with pytest.raises(MinicharError, match=re.escape(message)):
        resume(path, {})


def test_an_option_without_an_effect_is_refused_on_resuming(tmp_path):
    run = begin(toy_settings(tmp_path, use_ss=False))
    take(run.trainer, 5)
    with pytest.raises(
        MinicharError, match="min_ss has no effect without use_ss=True: add use_ss=True or omit min_ss"
    ):
        resume(run.trainer.saver.saved[-1], {"min_ss": 0.5})
    resume(run.trainer.saver.saved[-1], {"min_ss": 0.5, "use_ss": True})
