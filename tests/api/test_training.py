import inspect
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from api_helpers import OVERFITTING, TOY, train
from toys import TEXT, toy_model

import minichar
from minichar.training.events import Evaluated, Measured, Saved, Step


@pytest.mark.parametrize(("kind", "data"), [(str, "."), (Path, "input.txt")])
def test_data_is_a_file_or_a_directory(text, kind, data):
    events = []
    model = train(kind(text / data), on_event=events.append, checkpoint_dir=kind(text / "out"))
    assert [type(event) for event in events[-3:]] == [Step, Evaluated, Saved]
    back = minichar.load(events[-1].path)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    assert back.vocabulary == model.vocabulary == minichar.Vocabulary("".join(sorted(set(TEXT))))
    assert model.generate("the ", 50) == back.generate("the ", 50)


def test_train_returns_the_best_model_with_the_history_of_the_run(text):
    events = []
    model = train(text, on_event=events.append, start_ss=0.9, decay_ss=0.1, min_ss=0.1, **OVERFITTING)
    measured = [event for event in events if isinstance(event, Evaluated)]
    saved = [event for event in events if isinstance(event, Saved)]
    losses = [event.val.loss for event in measured]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1, "this test needs a run that overfits"
    np.testing.assert_array_equal(model.parameters.flat, minichar.load(saved[best].path).parameters.flat)
    assert model.details["val_loss"] == losses[best]
    assert all(f"``{key}``" in minichar.Model.__doc__ for key in model.details)
    for row, event in zip(model.history, measured, strict=True):
        assert (row["iteration"], row["epoch"]) == (event.iteration, event.epoch)
        assert row["train_loss"] == event.train_loss
        assert (row["val_loss"], row["fit_loss"]) == (event.val.loss, event.fit.loss)
        assert row["learning_rate"] == event.learning_rate
    assert model.history[0]["teacher_forcing_ratio"] > model.history[-1]["teacher_forcing_ratio"] > 0
    # A directory is resumed from its newest checkpoint, not from the best one.
    minichar.train(resume="cv", max_epochs=13, on_event=events.append, progress=False)
    first = next(event for event in events[events.index(saved[-1]) + 1 :] if isinstance(event, Step))
    assert first.iteration == measured[-1].iteration + 1


def test_val_and_test_files_are_measured_at_the_end(text, capsys, monkeypatch):
    (text / "val.txt").write_text(TEXT[:300])
    (text / "test.txt").write_text(TEXT[-200:])
    files, events = {"val": "val.txt", "test": text / "test.txt"}, []
    model = minichar.train("input.txt", **files, **TOY, on_event=events.append)
    expected = [model.evaluate(TEXT[:300]), model.evaluate(TEXT[-200:])]
    assert events[-2:] == [Measured("val", expected[0]), Measured("test", expected[1])]
    lines = [f"validation file: {expected[0]}", f"test file: {expected[1]}"]
    assert capsys.readouterr().err.splitlines()[-2:] == lines
    assert model.history[-1]["val_loss"] == [e for e in events if isinstance(e, Evaluated)][-1].val.loss
    monkeypatch.delattr("minichar.api.training.measure_files")
    train(text, test="input.txt")  # not measured in vain


def test_train_with_a_recipe(text):
    settings = minichar.train(text, progress=False, **TOY | {"recipe": "quick"}).details["settings"]
    assert (settings["recipe"], settings["patience"], settings["rnn_size"]) == ("quick", 10, 8)
    assert (settings["checkpoint_dir"], len(list((text / "cv").iterdir()))) == ("cv", 1)


def test_the_time_limit_includes_reading_the_text(text, clock):
    """Each chunk takes a second, reading the text 20, and 3 are reserved for the evaluation."""
    clock.reading = 20.0
    assert train(text, max_epochs=1e6, max_time=1).history[-1]["iteration"] == 60 - 20 - 3


def test_init_from_starts_from_the_weights_of_a_model(text):
    first = train(text, checkpoint_dir="first")
    (text / "other.txt").write_text(TEXT.upper() + TEXT)
    weights = first.parameters.flat.copy()
    for given in ("first", first):
        other = train("other.txt", init_from=given, learning_rate=1e-30)
        assert len(other.vocabulary) > len(first.vocabulary)
        i, j = other.vocabulary.encode("q"), first.vocabulary.encode("q")
        np.testing.assert_allclose(
            other.parameters["readout.W"][i], first.parameters["readout.W"][j], atol=1e-20
        )
    exact = first.exact()
    tuned = train(text, init_from=exact, checkpoint_dir="cv-tuned")
    np.testing.assert_array_equal(first.parameters.flat, weights, "init_from is not modified")
    assert tuned.parameters.backend is exact.parameters.backend.plain


def test_custom_loop_matches_train(text):
    """The loop is a copy of the one in docs/howto/training-loop.md."""
    options = {"use_ss": False, "epoch_reset": True, "num_layers": 2, "max_epochs": 2, "seed": 7}
    trained = train(text, grad_clip=0.3, **options)

    corpus = minichar.load_corpus(text)
    split = minichar.split_text(corpus.ids, 4, 6)
    model = minichar.Model.create(corpus.vocabulary, rnn_size=8, num_layers=2, seed=7)
    network = model.network(split.T, split.B)
    gradient = network.gradient.flat
    optimiser = minichar.RMSprop(model.parameters, decay=0.95)
    limit = 0.3 / split.T
    zeroed = np.arange(split.B) * len(split.train) // split.B
    for _ in range(2):
        for k, (inputs, targets) in enumerate(split.train):
            for b in np.flatnonzero(zeroed == k):
                network.reset(b)
            network.loss_and_gradient(inputs, targets)
            np.clip(gradient, -limit, limit, out=gradient)
            optimiser.step(gradient, learning_rate=2e-3)
            network.carry()
    np.testing.assert_array_equal(model.parameters.flat, trained.parameters.flat)


def test_signature_and_documentation_list_every_option_with_its_default():
    parameters, settings = inspect.signature(minichar.train).parameters, minichar.Settings()
    described = minichar.Settings.__doc__.partition("Attributes\n")[2]
    for name, default in asdict(settings).items():
        assert parameters[name].default == (None if name == "data" else default)
        assert f"\n{name} : " in described
    assert inspect.signature(minichar.Settings).bind().arguments == {}
    assert "\nmax_epochs : float | None\n    Number of passes over the training text" in described
    for words in (
        "All of `data` is",
        "`epoch_reset=False` always",
        "None: after each",
        "such as ``\\n``: reset",
    ):
        assert words in described
    kinds = {"seed": int, "rnn_size": int | None, "dropout": float | None, "model": str | None}
    kinds |= {"tied": bool | None, "checkpoint_dir": Path}
    assert {name: parameters[name].annotation for name in kinds} == kinds
    assert list(parameters)[:4] == ["data", "device", "progress", "init_from"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minichar.train("https://x/a//b"), "data is 'https://x/a//b'; it must be a local path"),
        (lambda: minichar.train(checkpoint_dir=""), "checkpoint_dir is ''; it must be a local path"),
        (lambda: minichar.train(recipe=None), "recipe is None; it must be text"),
        (lambda: minichar.train(device=None), "device is None; it must be text"),
        (lambda: minichar.load_corpus(min_freq="2"), "min_freq is '2'; it must be an integer"),
        (lambda: minichar.train("t\0.txt"), r"data is 't\\x00.txt'; it must be"),
    ],
)
def test_wrong_types_of_settings_raise(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(minichar.MinicharError, match=message):
        call()


def test_errors_are_one_line_and_name_the_keyword(text):
    for data, options, words in (
        ("nothing", {}, "nothing"),
        (text, {"rnn_size": 0}, "rnn_size"),
        (text, {"learning_rate": "fast"}, "learning_rate"),
        (text, {"init_from": "a", "resume": "b"}, "init_from.*resume"),
        (None, {"resume": 5}, "resume is 5; it must be a local path"),
        (text, {"init_from": toy_model(), "rnn_size": 5}, "rnn_size=5 does not match"),
        (TEXT, {}, "save the text to a file"),
    ):
        with pytest.raises(minichar.MinicharError, match=words) as caught:
            train(data, **options)
        assert "--" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (text / "cv").exists()
