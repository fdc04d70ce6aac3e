"""Test the options of a resumed run, and the runs that cannot be resumed, such as corrupted or forged ones.

`test_resume.py` checks that resuming is exact.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from toys import WRONG, parts, places, put_together, set_at, take, toy_settings

from minichar.errors import LONGEST_PATH, Completed, MinicharError
from minichar.training.choose import ARCHITECTURE, CHOOSERS
from minichar.training.saved import FIXED
from minichar.training.start import begin, resume

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


def test_a_completed_run(tmp_path):
    trainer = begin(toy_settings(tmp_path, max_epochs=1)).trainer
    path = list(trainer.run())[-1].path
    add = f"{path} is at the end of its run, epoch 1.00: to train for 10 more minutes, add "
    with pytest.raises(Completed) as caught:
        resume(path.parent, {"max_epochs": None})
    assert (str(caught.value), caught.value.with_flags) == (f"{add}max_time='10m'", f"{add}--max-time 10m")
    with pytest.raises(Completed, match=r"is at epoch 1.00, and max_epochs is 0\.5: set a larger value to"):
        resume(path, {"max_epochs": 0.5})
    assert resume(path, {"max_epochs": 2}).trainer.iteration == len(trainer.split.train)


def test_automatic_values_keep_those_of_the_run(stopped):
    run = resume(stopped, dict.fromkeys(CHOOSERS))
    assert run.changes == {}
    assert run.trainer.settings == resume(stopped, {}).trainer.settings
    with pytest.raises(MinicharError, match="seed is None; it must be an integer"):
        resume(stopped, {"seed": None})


def test_an_option_without_an_effect_is_refused_on_resuming(tmp_path):
    run = begin(toy_settings(tmp_path, use_ss=False))
    take(run.trainer, 5)
    with pytest.raises(
        MinicharError, match="min_ss has no effect without use_ss=True: add use_ss=True or omit min_ss"
    ):
        resume(run.trainer.saver.saved[-1], {"min_ss": 0.5})
    resume(run.trainer.saver.saved[-1], {"min_ss": 0.5, "use_ss": True})


CORRUPTED = [
    ("details.settings", None),
    ("details.settings", [1]),
    ("details.settings.rnn_size", "8"),
    ("details.settings.unheard_of", 1),
    ("details.settings.patience", ...),
    ("details.settings.checkpoint_dir", None),
    ("details.settings.min_freq", 3),
    ("details.settings.batch_size", 3),
    *((f"details.settings.{name}", None) for name in CHOOSERS),
    ("details.origin", None),
    ("details.origin.digest", None),
    ("training.iteration", "ten"),
    ("training.iteration", -3),
    ("training.iteration", 10**400),
    ("training.first_loss", None),
    ("training.learned", -1),
    ("training.first_loss", -1.0),
    ("training.first_loss", 1e308),
    ("training.total", ["x"]),
    ("training.total", -1.0),
    ("training.total", float("nan")),
    ("training.device", ...),
    ("training.random", None),
    ("training.random", {}),
    ("training.random.bit_generator", "MT19937"),
    ("training.random.state", {"state": -1, "inc": 2**200}),
    ("training.random.state", 5),
    ("training.random.uinteger", "x"),
]


def test_a_corrupted_header_raises_a_minichar_error(stopped, tmp_path):
    for where, value in CORRUPTED:
        header, arrays = parts(stopped)
        set_at(header, where.split("."), value)
        path = put_together(tmp_path / "forged.npz", header, arrays)
        with pytest.raises(MinicharError):
            pytest.fail(f"{where}: {resume(path, {})}")


def test_every_wrong_value_in_the_header(stopped, tmp_path, monkeypatch):
    """Replace or rename each value in turn. Resuming succeeds or raises a short `MinicharError`."""
    monkeypatch.chdir(tmp_path)
    header, arrays = parts(stopped)
    long, refused, messages = "\x1b" + "x" * 5000, 0, []
    for i, where in enumerate(places(header)):
        renamed = (*where[:-1], long)
        for there, wrong in ((where, WRONG[i % len(WRONG)]), (where, long), (renamed, long)):
            changed = json.loads(json.dumps(header))
            set_at(changed, where, ...)
            set_at(changed, there, wrong)
            put_together(tmp_path / "forged.npz", changed, arrays)
            try:
                run = resume(Path("forged.npz"), {})
                run.trainer.learn()
                messages += run.notes
            except MinicharError as error:
                refused += 1
                messages.append(str(error))
    assert refused > 200
    assert max(map(len, messages)) < LONGEST_PATH + 200
    assert all(map(str.isprintable, messages))


def test_a_state_with_the_wrong_shape(stopped, tmp_path):
    header, arrays = parts(stopped)
    for shape in ((2, 2, 8, 5), (1, 2, 8, 4), (2, 1, 8, 4), (2, 2, 1, 1)):
        path = put_together(tmp_path / "forged.npz", header, arrays | {"state": np.zeros(shape)})
        with pytest.raises(MinicharError, match="cannot be resumed"):
            resume(path, {})


def test_a_forged_checkpoint_neither_deletes_nor_writes_elsewhere(stopped, tmp_path):
    """Paths in a checkpoint are not trusted."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    victims = [tmp_path / "lm_x_epoch1.00_9.0000.npz", elsewhere / "lm_mine_epoch1.00_9.0000.npz"]
    for victim in victims:
        victim.write_text("mine")
    header, arrays = parts(stopped)
    header["training"]["saved"] = [name for victim in victims for name in (str(victim), victim.name)]
    header["details"]["settings"] |= {"checkpoint_dir": str(elsewhere), "keep": 1}
    path = put_together(tmp_path / "forged.npz", header, arrays)
    run = resume(path, {"eval_val_every": 5})
    take(run.trainer, 30)
    assert all(victim.read_text() == "mine" for victim in victims)
    assert list(elsewhere.iterdir()) == victims[1:]
    assert {saved.parent for saved in run.trainer.saver.saved} == {tmp_path}
