import json
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, WRONG, parts, places, put_together, set_at, take, toy_model, toy_settings

from minichar.checkpoints.checkpoint import load, save
from minichar.errors import MinicharError
from minichar.text import sizes
from minichar.training import text as training_text
from minichar.training.settings import Settings
from minichar.training.start import begin, begin_from, resume, settings_of
from minichar.training.transfer import copy_weights

ALPHABET = "abcdefgh \n"


@pytest.fixture(params=[0, 3])
def old(request, tmp_path, cell):
    """Save and return a model with a different vocabulary, with or without an embedding."""
    config = {"rnn_size": 8, "num_layers": 2, "dropout": 0.4, "embedding": request.param}
    model = toy_model("\n aceghxz", dtype="float32", **config, **cell)
    save(tmp_path / "old.npz", model)
    return model


def weights_of(model, character):
    """Return a character's column of Wx or E and its row of the readout matrix."""
    (k,) = model.vocabulary.encode(character)
    inputs = "embedding.E" if model.config.embedding else "layer1.Wx"
    return model.parameters[inputs][:, k], model.parameters["readout.W"][k]


def test_a_new_run_starts_from_random_weights(tmp_path, cell):
    settings = toy_settings(tmp_path, dropout=0.25, **cell)
    run, again = begin(settings), begin(settings)
    model = run.trainer.model
    assert (model.config.model, model.config.rnn_size, model.config.num_layers) == (cell["model"], 8, 2)
    assert model.config.dropout == 0.25
    assert model.vocabulary.characters == "".join(sorted(set(TEXT)))
    np.testing.assert_array_equal(model.parameters.flat, again.trainer.model.parameters.flat)
    other = begin(replace(settings, seed=124)).trainer.model
    assert not np.array_equal(model.parameters.flat, other.parameters.flat)


def test_weights_are_matched_by_character(old, tmp_path):
    """Ids differ between the two vocabularies, so matching by id would fail."""
    settings = toy_settings(tmp_path, ALPHABET * 60, seed=5)
    run = begin_from(settings, load(tmp_path / "old.npz"))
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
    names = ("model", "rnn_size", "num_layers", "gru_reset", "embedding", "layer_norm")
    return {name: getattr(model.config, name) for name in names}


def test_new_and_dropped_characters_are_reported(old, tmp_path):
    run = begin_from(toy_settings(tmp_path, ALPHABET * 60), load(tmp_path / "old.npz"))
    assert run.notes == (
        "characters new to the model, initialised randomly (3): 'b' 'd' 'f'",
        "characters removed because they are not in the text (2): 'x' 'z'",
    )


def test_the_same_vocabulary_gives_no_notes(old, tmp_path):
    run = begin_from(toy_settings(tmp_path, "\n aceghxz" * 60), load(tmp_path / "old.npz"))
    assert run.notes == ()
    np.testing.assert_array_equal(run.trainer.model.parameters.flat, old.parameters.flat)


def test_a_long_list_of_new_characters_is_abbreviated(tmp_path):
    save(tmp_path / "old.npz", toy_model("x", rnn_size=2, num_layers=1))
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 30))) * 20
    run = begin_from(toy_settings(tmp_path, text), load(tmp_path / "old.npz"))
    assert run.notes[0].startswith("characters new to the model, initialised randomly (30)")
    assert run.notes[0].endswith(f"{chr(0x4E13)!r} and 10 more")


def test_vocabularies_without_a_common_character(tmp_path):
    old, new = toy_model("abc"), toy_model("xyz", seed=2)
    before = new.parameters["readout.W"].copy()
    copy_weights(old, new)
    np.testing.assert_array_equal(new.parameters["readout.W"], before)
    np.testing.assert_array_equal(new.parameters["layer2.W"], old.parameters["layer2.W"])


def test_the_unknown_id_is_matched_to_the_unknown_id():
    old, new = toy_model("ab", unknown=True), toy_model("abcd", unknown=True, seed=2)
    copy_weights(old, new)
    np.testing.assert_array_equal(new.parameters["readout.W"][4], old.parameters["readout.W"][2])
    np.testing.assert_array_equal(new.parameters["layer1.Wx"][:, 4], old.parameters["layer1.Wx"][:, 2])


@pytest.mark.parametrize("unknown", [(True, False), (False, True)])
def test_an_unknown_id_in_only_one_vocabulary_is_not_matched(unknown):
    old, new = toy_model("ab", unknown=unknown[0]), toy_model("abc", unknown=unknown[1], seed=2)
    before = new.parameters["readout.W"].copy()
    copy_weights(old, new)
    np.testing.assert_array_equal(new.parameters["readout.W"][2:], before[2:])
    np.testing.assert_array_equal(new.parameters["readout.W"][:2], old.parameters["readout.W"][:2])


def test_the_architecture_is_taken_from_the_checkpoint(old, tmp_path):
    settings = toy_settings(tmp_path, model="rnn", rnn_size=3, num_layers=1)
    model = begin_from(settings, load(tmp_path / "old.npz")).trainer.model
    assert architecture(model) == architecture(old)
    settings = begin_from(settings, load(tmp_path / "old.npz")).trainer.settings
    assert {name: getattr(settings, name) for name in architecture(old)} == architecture(old)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rnn_size", 3),
        ("num_layers", 1),
        ("model", "gru"),
        ("gru_reset", "before"),
        ("embedding", 5),
        ("layer_norm", True),
    ],
)
def test_an_option_that_contradicts_the_checkpoint(tmp_path, name, value):
    save(tmp_path / "old.npz", toy_model(rnn_size=8))
    settings = toy_settings(tmp_path, **{name: value})
    with pytest.raises(MinicharError, match=rf"^{name}={value!r} does not match the init_from model"):
        begin_from(settings, load(tmp_path / "old.npz"), [name])


def test_an_option_that_agrees_with_the_checkpoint(tmp_path):
    save(tmp_path / "old.npz", toy_model(rnn_size=8))
    begin_from(toy_settings(tmp_path, rnn_size=8), load(tmp_path / "old.npz"), ["rnn_size"])


@pytest.mark.parametrize("name", ["dropout", "weight_drop"])
@pytest.mark.parametrize("p", [0.0, 0.2])
def test_dropout_is_taken_from_the_new_settings(old, tmp_path, name, p):
    run = begin_from(toy_settings(tmp_path, **{name: p}), load(tmp_path / "old.npz"))
    assert getattr(run.trainer.model.config, name) == p
    assert getattr(begin(toy_settings(tmp_path, **{name: p})).trainer.model.config, name) == p


def test_the_dtype_is_taken_from_the_new_settings(old, tmp_path):
    run = begin_from(toy_settings(tmp_path, dtype="float64"), load(tmp_path / "old.npz"))
    assert run.trainer.model.parameters.dtype == "float64"


@pytest.mark.parametrize("min_freq", [0, 2])
def test_a_new_unknown_id_is_reported(tmp_path, min_freq):
    save(tmp_path / "old.npz", toy_model())
    notes = begin_from(toy_settings(tmp_path, min_freq=min_freq), load(tmp_path / "old.npz")).notes
    assert any("the unknown token is new" in note for note in notes) == (min_freq > 0)


def test_only_the_weights_are_taken_from_init_from(tmp_path):
    first = begin(toy_settings(tmp_path)).trainer
    take(first, 20)
    trainer = begin_from(toy_settings(tmp_path), load(first.saver.saved[-1])).trainer
    assert (trainer.iteration, trainer.first_loss, len(trainer.history), trainer.saver.saved) == (
        0,
        None,
        0,
        [],
    )
    assert not trainer.step.optimiser.mean_square.any()
    assert not trainer.step.network.state.any()
    np.testing.assert_array_equal(trainer.model.parameters.flat, first.model.parameters.flat)


# Options of a resumed run. test_resume.py checks that resuming is exact.


@pytest.fixture
def stopped(tmp_path):
    """Return the path of a checkpoint from a two-epoch run that was stopped after 10 chunks."""
    trainer = begin(toy_settings(tmp_path)).trainer
    take(trainer, 10)
    return trainer.saver.saved[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "gru"),
        ("rnn_size", 9),
        ("num_layers", 1),
        ("gru_reset", "before"),
        ("encoding", "cp1252"),
        ("min_freq", 1),
        ("reset_on", "e"),
        ("split", "tail"),
        ("train_frac", 0.5),
        ("val_frac", 0.01),
        ("max_val_chunks", 1),
        ("seq_length", 7),
        ("batch_size", 5),
        ("embedding", 5),
        ("layer_norm", True),
        ("seed", 1),
        ("dtype", "float64"),
    ],
)
def test_options_that_cannot_change_on_resuming(stopped, name, value):
    error = f"^{name}={value!r} cannot be used to resume .*omit the option, .* with init_from"
    with pytest.raises(MinicharError, match=error):
        resume(stopped, {name: value})


def test_repeating_an_option_changes_nothing(stopped):
    run = resume(stopped, {"rnn_size": 8, "seed": 123})
    assert (run.notes, run.changes) == ((), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.5),
        ("dropout", 0.1),
        ("weight_drop", 0.1),
        ("max_epochs", 7),
        ("use_ss", False),
        ("keep", 3),
        ("checkpoint_dir", Path("elsewhere")),
    ],
)
def test_options_that_can_change_on_resuming(stopped, name, value):
    run = resume(stopped, {name: value})
    assert run.changes == {name: value}
    assert getattr(run.trainer.settings, name) == value
    if name in ("dropout", "weight_drop"):
        assert getattr(run.trainer.model.config, name) == 0.1
        assert getattr(run.trainer.step.network.config, name) == 0.1


def test_a_different_training_text(stopped, tmp_path):
    (tmp_path / "input.txt").write_text(TEXT.replace("cat", "act"))
    with pytest.raises(
        MinicharError, match=r"input\.txt is not the text that .* was trained on: specify the original text"
    ):
        resume(stopped, {})


def test_a_missing_training_text(stopped, tmp_path):
    (tmp_path / "input.txt").unlink()
    with pytest.raises(MinicharError, match="does not exist"):
        resume(stopped, {})


def test_a_training_text_that_was_moved(stopped, tmp_path):
    (tmp_path / "input.txt").rename(tmp_path / "moved.txt")
    run = resume(stopped, {"data": str(tmp_path / "moved.txt")})
    assert run.trainer.iteration == 10


def test_a_completed_run(tmp_path):
    trainer = begin(toy_settings(tmp_path, max_epochs=1)).trainer
    path = list(trainer.run())[-1].path
    error = "is at epoch 1.00, and max_epochs is 1: set a larger value to continue"
    with pytest.raises(MinicharError, match=error):
        resume(path, {})
    assert resume(path, {"max_epochs": 2}).trainer.iteration == len(trainer.split.train)


def test_a_checkpoint_for_sampling_only(tmp_path):
    save(tmp_path / "toy.npz", toy_model())
    with pytest.raises(MinicharError, match="no training state to resume from"):
        resume(tmp_path / "toy.npz", {})


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("details.settings", None),
        ("details.settings", [1]),
        ("details.settings.rnn_size", "8"),
        ("details.settings.unheard_of", 1),
        ("details.settings.data", 5),
        ("details.settings.checkpoint_dir", None),
        ("details.settings.min_freq", 3),
        ("details.settings.batch_size", 3),
        ("details.origin", None),
        ("details.origin.digest", None),
        ("training.iteration", "ten"),
        ("training.iteration", None),
        ("training.iteration", -3),
        ("training.iteration", float("inf")),
        ("training.iteration", 10**400),
        ("training.first_loss", None),
        ("training.learned", None),
        ("training.learned", -1),
        ("training.learned", 11),
        ("training.learned", 10**40),
        ("training.learned", float("inf")),
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
    ],
)
def test_a_damaged_header_raises_a_minichar_error(stopped, tmp_path, where, value):
    header, arrays = parts(stopped)
    set_at(header, where.split("."), value)
    path = put_together(tmp_path / "forged.npz", header, arrays)
    with pytest.raises(MinicharError):
        resume(path, {})


def test_every_wrong_value_in_the_header(stopped, tmp_path, monkeypatch):
    """Remove or replace each value in turn. Resuming must succeed or raise a `MinicharError`."""
    monkeypatch.chdir(tmp_path)
    header, arrays = parts(stopped)
    refused = 0
    for i, where in enumerate(places(header)):
        for wrong in (..., WRONG[i % len(WRONG)]):
            changed = json.loads(json.dumps(header))
            set_at(changed, where, wrong)
            put_together(tmp_path / "forged.npz", changed, arrays)
            try:
                trainer = resume(Path("forged.npz"), {}).trainer
                take(trainer, trainer.iteration + 1)
            except MinicharError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("shape", [(2, 2, 8, 5), (1, 2, 8, 4), (2, 1, 8, 4), (2, 2, 1, 1), (1, 1, 1, 1)])
def test_a_state_with_the_wrong_shape(stopped, tmp_path, shape):
    header, arrays = parts(stopped)
    path = put_together(tmp_path / "forged.npz", header, arrays | {"state": np.zeros(shape)})
    with pytest.raises(MinicharError, match="cannot be resumed"):
        resume(path, {})


def test_a_cache_is_not_written_to_a_path_from_a_checkpoint(stopped, tmp_path):
    header, _ = parts(stopped)
    text = Path(header["details"]["settings"]["data"])
    for cache in text.parent.glob("*.minichar.npz"):
        cache.unlink()
    resume(stopped, {})
    assert not list(text.parent.glob("*.minichar.npz"))
    resume(stopped, {"data": str(text)})
    assert len(list(text.parent.glob("*.minichar.npz"))) == 1


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


def test_a_missing_checkpoint():
    with pytest.raises(MinicharError, match=r"no such checkpoint: nothing\.npz"):
        resume(Path("nothing.npz"), {})


def test_a_training_checkpoint_can_be_loaded_as_a_model(stopped):
    assert load(stopped).details["settings"]["rnn_size"] == 8


def test_automatic_values_on_resuming(tmp_path):
    settings = toy_settings(tmp_path, dropout=0.2, max_epochs=1)
    trainer = begin(settings).trainer
    list(trainer.run())
    run = resume(trainer.saver.saved[-1], {"dropout": -1, "max_epochs": 0})
    assert run.changes == {"dropout": 0.5, "max_epochs": ceil(2500 / len(trainer.split.train))}
    assert run.trainer.model.config.dropout == run.trainer.settings.dropout == 0.5
    assert resume(trainer.saver.saved[-1], {"dropout": 0.2, "max_epochs": 2}).changes == {"max_epochs": 2}


def test_automatic_values_of_fixed_settings_keep_the_values_that_were_chosen(stopped):
    automatic = {"batch_size": 0, "seq_length": 0, "embedding": -1, "max_val_chunks": -1}
    run = resume(stopped, automatic)
    assert run.changes == {}
    assert run.trainer.settings == resume(stopped, {}).trainer.settings


def test_sizes_and_epochs_that_are_zero_are_chosen_for_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(training_text, "STEPS", 1000)
    run = begin(toy_settings(tmp_path, TEXT * 20, batch_size=0, seq_length=0, max_epochs=0))
    settings, split = run.trainer.settings, run.trainer.split
    assert (settings.batch_size, settings.seq_length) == (split.B, split.T) == (4, 50)
    assert settings.max_epochs == ceil(1000 / len(split.train)) > 1
    assert Settings(**run.trainer.settings.to_json()) == settings  # stored in checkpoints


def test_a_run_on_a_long_text_can_be_shorter_than_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(training_text, "STEPS", 7)
    trainer = begin(toy_settings(tmp_path, max_epochs=0)).trainer
    assert trainer.iterations == 7
    list(trainer.run())
    assert trainer.iteration == 7
    assert [row["iteration"] for row in trainer.history] == [7]


def test_sizes_are_chosen_when_fine_tuning_too(old, tmp_path):
    trainer = begin_from(toy_settings(tmp_path, ALPHABET * 60, batch_size=0, max_epochs=0), old).trainer
    assert trainer.settings.batch_size == 4
    assert trainer.settings.max_epochs >= 1


def test_settings_that_an_old_checkpoint_lacks_have_the_values_of_char_rnn(tmp_path):
    run = begin(toy_settings(tmp_path, learning_rate=0.01))
    stored = run.trainer.settings.to_json()
    for name in ("recipe", "patience", "learning_rate_schedule", "warmup"):  # settings that were added later
        del stored[name]
    run.trainer.model.details["settings"] = stored
    settings = settings_of(run.trainer.model, Path("old.npz"))
    assert (settings.recipe, settings.learning_rate) == ("", 0.01)
    assert [settings.learning_rate_at(i, 2, 40) for i in (0, 30)] == [0.01, 0.01 * 0.97**6]
    assert settings.patience == 0


def test_an_option_without_an_effect_is_refused_on_resuming(tmp_path):
    run = begin(toy_settings(tmp_path, use_ss=False))
    take(run.trainer, 5)
    with pytest.raises(
        MinicharError, match="min_ss has no effect without use_ss=True: add use_ss=True or omit min_ss"
    ):
        resume(run.trainer.saver.saved[-1], {"min_ss": 0.5})
    resume(run.trainer.saver.saved[-1], {"min_ss": 0.5, "use_ss": True})


def test_dropout_and_embedding_suit_the_text(tmp_path):
    few, many = "ab cd ef\n" * 60, "".join(map(chr, range(1000, 1300))) * 3
    for text, embedding in ((few, 0), (many, 64)):
        (tmp_path / "input.txt").unlink(missing_ok=True)
        trainer = begin(toy_settings(tmp_path, text, dropout=-1, embedding=-1)).trainer
        assert (trainer.model.config.dropout, trainer.model.config.embedding) == (0.5, embedding)
        assert (trainer.settings.dropout, trainer.settings.embedding) == (0.5, embedding)
    trainer = begin(toy_settings(tmp_path, dropout=0.1, embedding=3)).trainer
    assert (trainer.model.config.dropout, trainer.model.config.embedding) == (0.1, 3)


def test_the_embedding_of_a_model_can_be_left_to_minichar(old, tmp_path):
    settings = toy_settings(tmp_path, ALPHABET * 60, embedding=-1)
    run = begin_from(settings, load(tmp_path / "old.npz"), ["embedding"])
    assert run.trainer.model.config.embedding == old.config.embedding


@pytest.mark.parametrize(("every", "chosen"), [(0, 3), (48, 6), (8, 2)])
def test_the_number_of_validation_chunks_is_chosen_and_stored(every, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(training_text, "STEPS", 24)
    monkeypatch.setattr(sizes, "FEWEST_VAL_CHUNKS", 2)
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


def test_a_run_that_did_not_have_a_limit_is_resumed_without_one(stopped):
    header, arrays = parts(stopped)
    del header["details"]["settings"]["max_val_chunks"]
    assert resume(put_together(stopped, header, arrays), {}).trainer.settings.max_val_chunks == 0


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
    notes = (f"{N} characters are too few: reduced {reduced}",) if reduced else ()
    assert run.notes == notes
    assert sizes == (run.trainer.split.B, run.trainer.split.T)


def test_error_for_a_short_text_names_the_file(tmp_path):
    with pytest.raises(MinicharError, match=r"input.txt' has 2 characters, .*: use at least 17$"):
        begin(toy_settings(tmp_path, "ab", batch_size=0, seq_length=0))


@pytest.mark.parametrize(("text", "count"), [("a" * 300, 1), ("ab" * 150, 0)])
def test_a_text_of_one_repeated_character_is_reported(text, count, tmp_path):
    note = "the text has only one distinct character: there is nothing to learn"
    assert begin(toy_settings(tmp_path, text)).notes.count(note) == count
