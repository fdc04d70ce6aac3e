"""Test how a run starts: with random weights or with those of another model."""

from dataclasses import replace

import numpy as np
import pytest
from toys import TEXT, take, toy_model, toy_settings

from minichar.checkpoints.checkpoint import load, save
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.training import start
from minichar.training.start import begin, resume, with_yardstick
from minichar.training.transfer import copy_weights

ALPHABET = "abcdefgh \n"


MODELS = [
    {"model": "lstm"},
    {"model": "rnn", "embedding": 3},
    {"model": "gru", "layer_norm": True, "embedding": 8, "tied": True},
]


@pytest.fixture(params=MODELS, ids=str)
def old(request, tmp_path):
    """Save and return a model with a different vocabulary, with or without an embedding."""
    model = toy_model("\n aceghxz", dtype="float32", rnn_size=8, dropout=0.4, **request.param)
    save(tmp_path / "old.npz", model)
    return model


def weights_of(model, character):
    """Return a character's row of the readout matrix and, if it exists, its column of Wx or E."""
    (k,) = model.vocabulary.encode(character)
    inputs = {"embedding.E", "layer1.Wx"} & {*model.parameters.shapes}
    return model.parameters["readout.W"][k], *(model.parameters[name][:, k] for name in inputs)


def test_a_new_run_starts_from_random_weights(tmp_path):
    settings = toy_settings(tmp_path, dropout=0.25, weight_drop=0.1, dtype="float64", model="gru")
    run, again = begin(settings), begin(settings)
    model = run.trainer.model
    assert model.config == Config(len({*TEXT}), "gru", 8, 2, dropout=0.25, weight_drop=0.1)
    assert model.parameters.dtype == "float64"
    assert model.vocabulary.characters == "".join(sorted({*TEXT}))
    np.testing.assert_array_equal(model.parameters.flat, again.trainer.model.parameters.flat)
    other = begin(replace(settings, seed=124)).trainer.model
    assert not np.array_equal(model.parameters.flat, other.parameters.flat)


def test_weights_are_matched_by_character(old, tmp_path):
    """Ids differ between the two vocabularies, so matching by id would fail."""
    settings = toy_settings(tmp_path, ALPHABET * 60, seed=5)
    run = begin(settings, model=load(tmp_path / "old.npz"))
    new, fresh = run.trainer.model, begin(replace(settings, **architecture(old))).trainer.model
    assert list(old.vocabulary.encode("ace")) != list(new.vocabulary.encode("ace"))
    for character in "\n aceg":
        for there, here in zip(weights_of(old, character), weights_of(new, character), strict=True):
            np.testing.assert_array_equal(there, here)
    for character in "bdf":
        for there, here in zip(weights_of(fresh, character), weights_of(new, character), strict=True):
            np.testing.assert_array_equal(there, here)
    for name, view in new.parameters.items():
        if name not in ("layer1.Wx", "embedding.E", "readout.W"):
            np.testing.assert_array_equal(view, old.parameters[name])


def architecture(model):
    names = ("model", "rnn_size", "num_layers", "embedding", "layer_norm", "tied")
    return {name: getattr(model.config, name) for name in names}


def test_new_and_dropped_characters_are_reported(tmp_path):
    run = begin(toy_settings(tmp_path, ALPHABET * 60, min_freq=2), model=toy_model("\n aceghxz"))
    assert run.notes == (
        "characters new to the model, initialised randomly (3): 'b', 'd', 'f'",
        "the unknown token is new to the model and is initialised randomly",
        "characters removed because they are not in the text (2): 'x', 'z'",
    )
    (tmp_path / "input.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 30))) * 20)
    note = begin(toy_settings(tmp_path), model=toy_model("x")).notes[0]
    assert note.startswith("characters new to the model, initialised randomly (30)")
    assert note.endswith(f"{chr(0x4E13)!r} and 10 more")


def test_unknown_ids_are_matched_if_both_vocabularies_have_one():
    for there, here in ((True, True), (True, False), (False, True)):
        old, new = toy_model("ab", unknown=there), toy_model("abc", unknown=here, seed=2)
        before = new.parameters["readout.W"].copy()
        copy_weights(old, new)
        W = new.parameters["readout.W"]
        np.testing.assert_array_equal(W[:2], old.parameters["readout.W"][:2])
        np.testing.assert_array_equal(W[2], before[2])
        if here:
            np.testing.assert_array_equal(W[3], old.parameters["readout.W"][2] if there else before[3])
    old, new = toy_model("ab", unknown=True), toy_model("abcd", unknown=True, seed=2)
    copy_weights(old, new)
    np.testing.assert_array_equal(new.parameters["layer1.Wx"][:, 4], old.parameters["layer1.Wx"][:, 2])


@pytest.mark.parametrize("others", [{"model": "rnn", "rnn_size": 3, "num_layers": 1}, {"rnn_size": None}])
def test_the_architecture_is_taken_from_the_checkpoint(old, tmp_path, others):
    """Without common characters, the new model has the same weights except for those of characters."""
    automatic = dict.fromkeys(["model", "embedding", "layer_norm", "tied"])
    run = begin(toy_settings(tmp_path, "ABC" * 100, **automatic | others), model=load(tmp_path / "old.npz"))
    assert architecture(run.trainer.model) == architecture(old)
    assert {name: getattr(run.trainer.settings, name) for name in architecture(old)} == architecture(old)
    layer = "layer2.W"
    np.testing.assert_array_equal(run.trainer.model.parameters[layer], old.parameters[layer])


def test_an_option_that_contradicts_the_model(tmp_path):
    model = toy_model(rnn_size=8, dropout=0.4)
    for name, value in (("rnn_size", 3), ("num_layers", 1), ("model", "gru"), ("embedding", 5)):
        settings = toy_settings(tmp_path, **{name: value})
        with pytest.raises(MinicharError, match=rf"^{name}={value!r} does not match the init_from model"):
            begin(settings, model=model, given=[name])
    others = {"dropout": 0.2, "weight_drop": 0.1, "dtype": "float64"}
    tuned = begin(
        toy_settings(tmp_path, **others, rnn_size=None), model=model, given=[*others, "rnn_size"]
    ).trainer.model
    assert (tuned.config.dropout, tuned.config.weight_drop, tuned.parameters.dtype) == (0.2, 0.1, "float64")


def test_only_the_weights_are_taken_from_init_from(tmp_path):
    """The text has the same characters, so there are no notes. Sizes are chosen."""
    first = begin(toy_settings(tmp_path)).trainer
    take(first, 20)
    sizes = toy_settings(tmp_path, batch_size=None, seq_length=None, max_epochs=None)
    run = begin(sizes, model=load(first.saver.saved[-1]))
    trainer, state = run.trainer, (run.trainer.iteration, run.trainer.first_loss, run.trainer.saver.saved)
    assert (state, len(trainer.history), run.notes) == ((0, None, []), 0, ())
    assert not trainer.step.optimiser.mean_square.any()
    assert not trainer.step.network.state.any()
    np.testing.assert_array_equal(trainer.model.parameters.flat, first.model.parameters.flat)
    assert (trainer.settings.batch_size, trainer.settings.seq_length) == (trainer.split.B, trainer.split.T)


def test_a_text_of_one_repeated_character_is_reported(tmp_path):
    note = "the text has only one distinct character: there is nothing to learn"
    assert begin(toy_settings(tmp_path, "a" * 300)).notes == (note,)


class TestYardstick:
    def test_it_is_stored_and_measured_once(self, tmp_path, monkeypatch):
        trainer = begin(toy_settings(tmp_path)).trainer
        take(trainer, 5)
        resumed = resume(trainer.saver.last, {})
        assert resumed.trainer.yardstick is None
        measured = with_yardstick(resumed).trainer
        take(measured, 6)
        monkeypatch.setattr(start, "yardstick", None)
        again = with_yardstick(resume(measured.saver.last, {})).trainer
        assert again.yardstick == measured.yardstick is not None

    def test_it_is_limited_by_time_and_memory_and_the_validation_text(self, tmp_path, monkeypatch):
        monkeypatch.setattr(start, "COUNTED_PER_SECOND", 20)
        monkeypatch.setattr("minichar.training.plan.monotonic", lambda: 100.0)
        for started, counted in ((100.0, 96), (70.0, 48), (1.0, 4)):  # at least one in each stream
            run = begin(toy_settings(tmp_path, max_time=1.0), started=started)
            assert with_yardstick(run, started=started).trainer.yardstick.counted == counted
        none = begin(toy_settings(tmp_path, train_frac=1, val_frac=0))
        assert with_yardstick(none).trainer.yardstick is None

        def fail(*arguments):
            raise MemoryError

        monkeypatch.setattr(start, "yardstick", fail)
        assert with_yardstick(begin(toy_settings(tmp_path))).trainer.yardstick is None
