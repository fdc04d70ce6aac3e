import inspect
import io
import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from toys import ONE_THREAD, TEXT, parts, put_together, toy_model

import minichar
import minichar.api
from minichar.api import progress as progress_module
from minichar.devices.cpu import CPU, NumPyBackend
from minichar.engine.config import Config
from minichar.training.events import Evaluated, Saved, Step

TOY = {
    "use_ss": True,
    "recipe": "char-rnn",
    "rnn_size": 8,
    "num_layers": 1,
    "batch_size": 4,
    "seq_length": 6,
    "max_epochs": 1,
}
OVERFITTING = TOY | {"rnn_size": 32, "max_epochs": 12, "eval_val_every": 50, "learning_rate": 0.02}


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def model():
    loaded = toy_model(scale=40.0)
    return minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)


def train(data, **options):
    return minichar.train(data, progress=False, **TOY | options)


# The module


def test_dir_lists_the_public_names_and_the_version_and_each_exists():
    assert set(dir(minichar)) == {*minichar.__all__, "__version__"}
    assert minichar.__all__ == minichar.api.__all__
    assert all(getattr(minichar, name) is not None for name in dir(minichar))
    assert minichar.__version__ == version("minichar")
    with pytest.raises(AttributeError, match="lod"):
        minichar.lod


def test_names_and_version_do_not_import_numpy():
    code = "import sys, minichar; dir(minichar), minichar.__version__; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ONE_THREAD).returncode == 0


def test_every_public_class_function_and_method_has_a_docstring():
    for name in minichar.__all__:
        public = getattr(minichar, name)
        assert inspect.getdoc(public), name
        if inspect.isclass(public):
            for member, value in vars(public).items():
                assert member.startswith("_") or not callable(value) or inspect.getdoc(value), (name, member)


# Generation


def test_generate_returns_the_text_that_the_stream_yields(model):
    pieces = list(model.stream("abc", 50))
    assert all(pieces)
    assert len(pieces) > 10
    generated = model.generate("abc", 50)
    assert generated == "".join(pieces)
    assert len(generated) == 50
    assert generated == "".join(minichar.generate(model, 50, "abc"))


@pytest.mark.parametrize(
    ("options", "equivalent"),
    [
        ({"temperature": 0.3}, {"choice": minichar.Choice(temperature=0.3)}),
        ({"top_k": 2}, {"choice": minichar.Choice(top_k=2)}),
        ({"top_p": 0.4}, {"choice": minichar.Choice(top_p=0.4)}),
        ({"argmax": True}, {"choice": minichar.Choice(argmax=True)}),
        ({"seed": 5}, {"seed": 5}),
        ({"stop": ["ab", "cd"]}, {"stop": ["ab", "cd"]}),
        ({"stop": "db"}, {"stop": ["db"]}),
        ({"prime": "aéb", "unknown": "skip"}, {"prime": "ab"}),
        ({"prime": "ab"}, {"prime": "ab"}),
        ({"length": 7}, {"length": 7}),
    ],
)
def test_options_of_generate(model, options, equivalent):
    """Each option has the same effect as in `minichar.generate`, and changes the text."""
    short = {"length": 100}
    assert model.generate(**short | options) == "".join(minichar.generate(model, **short | equivalent))
    assert model.generate(**short | options) != model.generate(**short)


def test_stop_strings_can_be_any_iterable(model):
    assert model.generate(length=100, stop=iter(["db"])) == model.generate(length=100, stop="db")
    assert "a" not in model.generate(length=0, stop=iter(["a"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": None}, "stop is None; it must be a list of strings"),
        ({"stop": 3}, "stop is 3; it must be a list of strings"),
        ({"stop": ["a", 3]}, r"stop is \['a', 3\]; it must be a list of strings"),
        ({"prime": b"a"}, "prime is b'a'; it must be text"),
        ({"argmax": 1}, "argmax is 1; it must be True or False"),
    ],
)
def test_wrong_types_raise(model, options, message):
    with pytest.raises(minichar.MinicharError, match=message):
        model.generate(**{"length": 5} | options)


def test_numpy_values_are_accepted(model):
    options = {"length": np.int64(30), "temperature": np.float32(0.5), "argmax": np.True_}
    assert model.generate(**options) == model.generate(length=30, temperature=0.5, argmax=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minichar.train(""), "data is ''; it must be a path"),
        (lambda: minichar.train(checkpoint_dir=""), "checkpoint_dir is ''; it must be a path"),
        (lambda: minichar.train(recipe=None), "recipe is None; it must be text"),
        (lambda: minichar.train(device=None), "device is None; it must be text"),
        (lambda: minichar.load_corpus(min_freq="2"), "min_freq is '2'; it must be an integer"),
        (lambda: minichar.load_corpus("x", encoding=None), "encoding is None; it must be text"),
        (lambda: minichar.train("t\0.txt"), r"data is 't\\x00.txt'; it must be"),
    ],
)
def test_wrong_types_of_settings_raise(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(minichar.MinicharError, match=message):
        call()


def test_seed_none_generates_different_text_each_time(model):
    assert model.generate(length=200, seed=None) != model.generate(length=200, seed=None)


def test_only_stream_allows_unlimited_length(model):
    stream = model.stream(length=0)
    assert len("".join(next(stream) for _ in range(3000))) >= 3000
    for stop in ((), "", [""]):
        with pytest.raises(minichar.MinicharError, match="stream"):
            model.generate(length=0, stop=stop)
    assert "a" not in model.generate(length=0, stop="a")


# Evaluation


def test_surprisal_is_minus_the_log_probability_of_each_next_character(model):
    """Compare with a network that processes one character at a time, across several chunks."""
    text = model.generate(length=250)
    ids = model.vocabulary.encode(text)
    network = model.network(1, 1)
    expected = []
    for k, following in pairwise(ids):
        logits = network.step(0, np.array([k]))[:, 0]
        network.carry()
        expected.append(-np.log(np.exp(logits[following]) / np.exp(logits).sum()))
    surprisal = model.surprisal(text)
    assert surprisal.shape == (250,)
    assert surprisal.dtype == "float64"
    assert np.isnan(surprisal[0])
    np.testing.assert_allclose(surprisal[1:], expected, rtol=1e-12)


def test_evaluate_is_the_mean_surprisal(model):
    text = model.generate(length=250)
    result = model.evaluate(text)
    assert isinstance(result, minichar.Evaluation)
    assert result.characters == 249
    assert result.loss == pytest.approx(np.nanmean(model.surprisal(text)), rel=1e-12)
    assert result.bits == pytest.approx(result.loss / np.log(2))
    assert result.perplexity == pytest.approx(np.exp(result.loss))


def test_unknown_characters_raise_or_are_skipped(model):
    for measure in (model.evaluate, model.surprisal, model.generate):
        with pytest.raises(minichar.MinicharError, match=r"'é'.*'ü'") as caught:
            measure("abécaü")
        assert "\n" not in str(caught.value)
    assert model.evaluate("abécaüd", unknown="skip") == model.evaluate("abcad")
    surprisal = model.surprisal("éabécaüd", unknown="skip")
    assert np.isnan(surprisal).tolist() == [True, True, False, True, False, False, True, False]
    np.testing.assert_array_equal(surprisal[[2, 4, 5, 7]], model.surprisal("abcad")[1:])


def test_unknown_characters_use_the_unknown_token():
    loaded = toy_model(unknown=True)
    model = minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)
    surprisal = model.surprisal("abécd", unknown="unk")
    assert np.isnan(surprisal).tolist() == [True] + [False] * 4
    assert model.evaluate("abécd", unknown="unk").loss == pytest.approx(surprisal[1:].mean())


def test_short_text(model):
    assert model.surprisal("").shape == (0,)
    assert np.isnan(model.surprisal("a")).tolist() == [True]
    for text in ("", "a", "éaé"):
        with pytest.raises(minichar.MinicharError, match="at least 2"):
            model.evaluate(text, unknown="skip")


# Loading and saving


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_saved_and_loaded_model_is_equal(model, tmp_path, suffix):
    needed = {".safetensors": "safetensors", ".pt": "torch"}.get(suffix)
    if needed and not find_spec(needed):
        pytest.skip(f"requires {needed}")
    model.save(tmp_path / f"model{suffix}")
    back = minichar.load(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    assert (type(back), back.config, back.vocabulary) == (minichar.Model, model.config, model.vocabulary)
    assert back.generate(length=30) == model.generate(length=30)


def test_save_overwrites_a_file_and_converts_the_dtype(model, tmp_path):
    (tmp_path / "m.npz").write_text("old")
    model.save(str(tmp_path / "m.npz"), dtype="float16")
    assert parts(tmp_path / "m.npz")[1]["readout.W"].dtype == "float16"
    with pytest.raises(minichar.MinicharError, match="int8"):
        model.save(tmp_path / "m.npz", dtype="int8")
    for name in ("m", "m.txt", "m.pkl"):
        with pytest.raises(minichar.MinicharError, match=r"\.npz, \.safetensors, \.pt, \.onnx"):
            model.save(tmp_path / name)


def test_save_and_load_functions(tmp_path):
    model = toy_model()
    minichar.save(tmp_path / "own.npz", model)
    np.testing.assert_array_equal(minichar.load(tmp_path / "own.npz").parameters.flat, model.parameters.flat)


def test_load_from_a_directory_uses_the_best_checkpoint(text):
    best = train(text, **OVERFITTING)
    for folder in ("cv", text / "cv"):
        np.testing.assert_array_equal(minichar.load(folder).parameters.flat, best.parameters.flat)
    np.testing.assert_array_equal(minichar.load().parameters.flat, best.parameters.flat)
    with pytest.raises(minichar.MinicharError, match="no checkpoint in"):
        minichar.load(text)


def test_unknown_device_raises(text, model):
    for call in (
        lambda: minichar.load("cv", device="tpu"),
        lambda: train(text, device="tpu"),
        lambda: minichar.Model.create(model.vocabulary, device="tpu"),
    ):
        with pytest.raises(minichar.MinicharError, match="unknown device 'tpu'"):
            call()


def test_models_compute_on_the_requested_device(text, device, monkeypatch):
    known = {device.name: device, "cpu": CPU}
    monkeypatch.setattr("minichar.api.loading.open_backend", known.__getitem__)
    monkeypatch.setattr("minichar.api.training.open_devices", lambda name, tf32: (known[name],))
    model = minichar.train(text, device=device.name, progress=False, **TOY)
    assert model.parameters.backend.name == device.name
    loaded = minichar.load("cv", device=device.name)
    assert loaded.parameters.backend.name == device.name
    np.testing.assert_allclose(loaded.surprisal(TEXT), minichar.load("cv").surprisal(TEXT), rtol=1e-4)
    assert repr(loaded).endswith(f"on {device.name}, float32")
    tuned = minichar.train(text, init_from="cv", device=device.name, progress=False, **TOY)
    assert tuned.parameters.backend.name == device.name


def test_auto_chooses_a_device_for_a_run_but_keeps_the_device_of_a_model(text, monkeypatch, capsys):
    class Other(NumPyBackend):
        def __init__(self):
            super().__init__()
            self.name = "gpu:0"

    other, times = Other(), {"cpu": 18.0, "gpu:0": 12.3}
    monkeypatch.setattr(
        "minichar.api.training.open_devices", lambda name, tf32: (CPU, other) if name == "auto" else (CPU,)
    )
    monkeypatch.setattr("minichar.training.device.time_step", lambda device, *size: times[device.name])
    run = {"device": "auto", **TOY}
    assert minichar.train(text, **run).parameters.backend is other
    assert "note: device auto: gpu:0, 12.3 ms per step; cpu takes 18.0 ms\n" in capsys.readouterr().err
    minichar.train(text, init_from="cv", **run)
    assert "note: device auto: gpu:0" in capsys.readouterr().err
    minichar.train(text, init_from=minichar.load("cv"), **run)
    assert "device auto" not in capsys.readouterr().err


def test_tf32_is_used_in_training_on_a_gpu_only(text, monkeypatch, capsys):
    """Two notices on a GPU: the first step compiles kernels, and float64 products have no TF32."""
    from cupy_double import DoubleOfCuPy

    monkeypatch.setitem(sys.modules, "cupy", cupy := DoubleOfCuPy())
    monkeypatch.setenv("CUPY_CACHE_DIR", str(text / "kernels"))
    handles, (strict, tf32) = cupy.cublas.handles, (0, 3)
    first = minichar.train(text, device="gpu", tf32=True, **TOY)
    assert [handle.math for handle in handles.values()] == [tf32, strict]
    assert not first.parameters.backend.tf32
    err = capsys.readouterr().err
    assert err.startswith("note: compiling GPU kernels;")
    assert "TF32" not in err
    handles.clear()
    minichar.train(text, init_from=first, tf32=True, dtype="float64", **TOY)
    assert [handle.math for handle in handles.values()] == [tf32, strict]
    assert "note: TF32 has no effect on float64 matrix products\n" in capsys.readouterr().err
    handles.clear()
    assert minichar.train(text, init_from=first, progress=False, **TOY).parameters.backend.name == "gpu:0"
    assert strict == handles.popitem()[1].math
    assert capsys.readouterr().err == ""
    minichar.train(text, tf32=True, **TOY)
    assert "note: TF32 has no effect on device cpu: it requires" in capsys.readouterr().err


def test_exact_model_has_the_same_methods(model):
    assert len(model.exact().generate(length=20)) == 20


def test_repr_has_three_lines(text, model):
    trained = repr(train("input.txt")).splitlines()
    loss = re.escape(os.listdir("cv")[0].rpartition("_")[2].removesuffix(".npz"))
    expected = [
        r"minichar\.Model: LSTM, 1 layer of 8, \d+ characters, [\d,]+ parameters",
        rf"  trained on input\.txt for 1\.00 epochs, validation loss {loss} nats per character",
        r"  on cpu, float32",
    ]
    assert len(trained) == 3
    assert all(map(re.fullmatch, expected, trained)), trained
    assert repr(model).splitlines()[1:] == ["  no training record", "  on cpu, float64"]
    assert "not validated" in repr(train(text, val_frac=0.0))
    for damaged in (None, "x", [], {"path": 3}):
        model.details = {"origin": damaged, "epoch": damaged, "val_loss": damaged}
        assert len(repr(model).splitlines()) == 3
        model.details = {"origin": {"path": "x"}, "epoch": 1.0, "val_loss": damaged}
        assert "not validated" in repr(model)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_layers": 1}, "LSTM, 1 layer of 4, 6 characters, "),
        ({"model": "gru", "gru_reset": "before"}, "GRU (reset before the matrix product), 2 layers of 4, "),
        ({"layer_norm": True}, "LSTM with layer normalisation, 2 layers of 4, "),
        ({"model": "rnn", "dropout": 0.25}, "RNN, 2 layers of 4, dropout 0.25, 6 characters"),
    ],
)
def test_summary(config, words):
    model = toy_model(**config)
    assert model.summary().startswith(words)
    assert model.summary().endswith(f" {sum(view.size for _, view in model.parameters.items())} parameters")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "int32"}, "dtype is 'int32'; it must be one of float32, float64"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"vocabulary": "abc"}, "vocabulary is 'abc'; it must be a Vocabulary"),
    ],
)
def test_create_rejects(options, words):
    with pytest.raises(minichar.MinicharError, match=re.escape(words)):
        minichar.Model.create(**{"vocabulary": minichar.Vocabulary("abc")} | options)


def test_init_from_an_exact_model_trains_with_ordinary_products(text):
    exact = minichar.train(text, progress=False, **TOY).exact()
    tuned = minichar.train(text, init_from=exact, progress=False, checkpoint_dir="cv-tuned", **TOY)
    assert tuned.parameters.backend is exact.parameters.backend.plain


def test_create():
    vocabulary = minichar.Vocabulary("abc")
    options = {"model": "gru", "rnn_size": 5, "num_layers": 3, "dropout": 0.5, "gru_reset": "before"}
    options |= {"weight_drop": 0.1, "embedding": 2, "layer_norm": True}
    model = minichar.Model.create(vocabulary, **options, seed=4, dtype="float64")
    assert model.config == Config(3, **options)
    same = minichar.CharRNN.new(Config(3, **options), vocabulary, 4, "float64")
    np.testing.assert_array_equal(model.parameters.flat, same.parameters.flat)
    assert minichar.Model.create(vocabulary).config == Config(3)
    assert model.history == []


# Training


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
@pytest.mark.parametrize("data", [".", "input.txt"])
def test_data_is_a_file_or_a_directory(text, kind, data):
    events = []
    model = train(kind(text / data), on_event=events.append, checkpoint_dir=kind(text / "out"))
    assert [type(event) for event in events[-3:]] == [Step, Evaluated, Saved]
    back = minichar.load(events[-1].path)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    assert back.vocabulary == model.vocabulary == minichar.Vocabulary("".join(sorted(set(TEXT))))
    assert model.generate("the ", 50) == back.generate("the ", 50)


def test_default_checkpoint_dir_is_cv(text):
    assert train("input.txt").details["settings"]["checkpoint_dir"] == "cv"
    assert len(list((text / "cv").iterdir())) == 1


def test_train_returns_the_best_model(text):
    events = []
    model = train(text, on_event=events.append, **OVERFITTING)
    measured = [event for event in events if isinstance(event, Evaluated)]
    saved = [event for event in events if isinstance(event, Saved)]
    losses = [event.val.loss for event in measured]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1, "this test needs a run that overfits"
    np.testing.assert_array_equal(model.parameters.flat, minichar.load(saved[best].path).parameters.flat)
    assert model.details["val_loss"] == losses[best]


def test_train_without_validation_returns_the_last_model(text):
    events = []
    model = train(text, val_frac=0.0, eval_val_every=20, max_epochs=2, on_event=events.append)
    saved = [event for event in events if isinstance(event, Saved)]
    assert len(saved) > 1
    np.testing.assert_array_equal(model.parameters.flat, minichar.load(saved[-1].path).parameters.flat)
    assert [row["val_loss"] for row in model.history] == [None] * len(saved)
    assert model.details["epoch"] == 2.0


def test_history_has_one_row_per_evaluation(text):
    events = []
    model = train(text, on_event=events.append, start_ss=0.9, decay_ss=0.1, min_ss=0.1, **OVERFITTING)
    measured = [event for event in events if isinstance(event, Evaluated)]
    assert len(measured) > 3
    assert [list(row) for row in model.history] == [
        [
            *("iteration", "epoch", "train_loss"),
            *("val_loss", "val_first", "val_last", "fit_loss", "fit_first", "fit_last"),
            *("learning_rate", "teacher_forcing_ratio"),
        ]
    ] * len(measured)
    for row, event in zip(model.history, measured, strict=True):
        assert (row["iteration"], row["epoch"]) == (event.iteration, event.epoch)
        assert row["train_loss"] == event.train_loss
        assert (row["val_loss"], row["fit_loss"]) == (event.val.loss, event.fit.loss)
        assert row["learning_rate"] == event.learning_rate
    assert model.history[0]["teacher_forcing_ratio"] > model.history[-1]["teacher_forcing_ratio"] > 0


def test_history_is_saved_and_loaded(text):
    model = train(text, **OVERFITTING)
    best = minichar.load("cv").history
    assert model.history[: len(best)] == best
    assert len(best) < len(model.history)
    model.save("saved.npz")
    assert minichar.load("saved.npz").history == model.history


def test_damaged_history_raises(text):
    train(text)
    header, arrays = parts(next((text / "cv").glob("*.npz")))
    damaged = put_together(text / "damaged.npz", header, arrays | {"history": np.zeros(3)})
    with pytest.raises(minichar.MinicharError, match="history"):
        minichar.load(damaged)


def test_resume_continues_where_the_run_stopped(text):
    whole = train(text, max_epochs=3, checkpoint_dir="whole")
    train(text, max_epochs=1, checkpoint_dir="parts")
    for given in ("parts", text / "parts"):
        resumed = minichar.train(resume=given, max_epochs=3, checkpoint_dir="rest", progress=False)
        np.testing.assert_array_equal(resumed.parameters.flat, whole.parameters.flat)
        assert resumed.history[-1]["val_loss"] == whole.history[-1]["val_loss"]
        assert [row["epoch"] for row in resumed.history] == [1.0, 3.0]


def test_resume_from_a_directory_uses_the_newest_checkpoint(text):
    """In this run, the best checkpoint is not the newest."""
    done = train(text, **OVERFITTING).history[-1]["iteration"]
    events = []
    minichar.train(resume="cv", max_epochs=13, on_event=events.append, progress=False)
    assert events[0].iteration == done + 1


def test_init_from_starts_from_the_weights_of_a_model(text):
    first = train(text, checkpoint_dir="first")
    (text / "other.txt").write_text(TEXT.upper() + TEXT)
    weights = first.parameters.flat.copy()
    for given in ("first", text / "first", first):
        kept = train(text, init_from=given, learning_rate=1e-30)
        np.testing.assert_allclose(kept.parameters.flat, weights, atol=1e-20)
        other = train("other.txt", init_from=given, learning_rate=1e-30)
        assert len(other.vocabulary) > len(first.vocabulary)
        i, j = other.vocabulary.encode("q"), first.vocabulary.encode("q")
        np.testing.assert_allclose(
            other.parameters["readout.W"][i], first.parameters["readout.W"][j], atol=1e-20
        )
    train(text, init_from=first, max_epochs=2)
    np.testing.assert_array_equal(first.parameters.flat, weights, "init_from is not modified")


def test_unknown_option_suggests_a_similar_name(text):
    for wrong, right in (
        ("learning_rat", "learning_rate"),
        ("hidden_size", "rnn_size"),
        ("wibble", None),
        ("rnnsize", "rnn_size"),
        ("devise", "device"),
        ("init_form", "init_from"),
    ):
        suggestion = f"; did you mean '{right}'?" if right else ""
        with pytest.raises(TypeError) as caught:
            minichar.train(text, **{wrong: 3})
        assert str(caught.value) == f"train() has no option '{wrong}'{suggestion}"


def test_a_misspelt_keyword_of_a_method_suggests_the_nearest_one(model):
    for call, words in (
        (lambda: model.generate("a", lenght=5), "generate() has no option 'lenght'; did you mean 'length'?"),
        (
            lambda: model.stream(tempreature=1),
            "stream() has no option 'tempreature'; did you mean 'temperature'?",
        ),
        (
            lambda: minichar.Model.create(model.vocabulary, rnnsize=3),
            "create() has no option 'rnnsize'; did you mean 'rnn_size'?",
        ),
        (lambda: minichar.load("cv", devcie="cpu"), "load() has no option 'devcie'; did you mean 'device'?"),
        (
            lambda: model.evaluate("ab", unknwon="skip"),
            "evaluate() has no option 'unknwon'; did you mean 'unknown'?",
        ),
        (
            lambda: model.surprisal("ab", unknwon="skip"),
            "surprisal() has no option 'unknwon'; did you mean 'unknown'?",
        ),
        (lambda: model.save("a.npz", dtpye="float64"), "save() has no option 'dtpye'; did you mean 'dtype'?"),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == words


def test_the_signature_lists_every_option_with_its_default():
    parameters = inspect.signature(minichar.train).parameters
    for name, default in minichar.Settings().to_json().items():
        assert parameters[name].default == default
    assert list(parameters)[:4] == ["data", "device", "progress", "init_from"]


def test_errors_are_one_line_and_name_the_keyword(text):
    for data, options, words in (
        ("nothing", {}, "nothing"),
        (text, {"rnn_size": 0}, "rnn_size"),
        (text, {"learning_rate": "fast"}, "learning_rate"),
        (text, {"init_from": "a", "resume": "b"}, "init_from.*resume"),
        (text, {"init_from": toy_model(), "rnn_size": 5}, "rnn_size=5 does not match"),
        (TEXT, {}, "save the text to a file"),
    ):
        with pytest.raises(minichar.MinicharError, match=words) as caught:
            train(data, **options)
        assert "--" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (text / "cv").exists()


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_progress_nothing_is_printed(text, capfd):
    train(text)
    assert capfd.readouterr() == ("", "")


LINE = r"epoch (\d\.\d\d)/3  loss \d\.\d{3}(  validation \d\.\d{3})?  [\d,]+ characters/s  \d+:\d\d:\d\d left"


def test_progress_without_a_terminal_prints_one_line_per_evaluation(text, monkeypatch, capfd):
    monkeypatch.setattr(progress_module, "INTERVAL", float("inf"))
    model = minichar.train(text, eval_val_every=20, **TOY | {"max_epochs": 3})
    printed = capfd.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert [re.fullmatch(LINE, line)[1] for line in lines][-1] == "3.00"
    assert len(lines) == len(model.history) > 2
    assert "validation" in lines[0]
    assert lines[-1].endswith(" 0:00:00 left")


def test_progress_on_a_terminal_rewrites_one_line(text, monkeypatch):
    monkeypatch.setattr(progress_module, "REFRESH", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    model = minichar.train(text, **TOY | {"max_epochs": 3})
    printed = sys.stderr.getvalue()
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    states = printed.strip("\r\n").split("\r")
    assert len(states) == model.history[-1]["iteration"] + 1  # one per step and one for the evaluation
    assert all(re.fullmatch(LINE, state.rstrip()) for state in states)
    assert {len(state) for state in states} == {79}


def test_speed_and_remaining_time_exclude_the_resumed_run(monkeypatch, capfd):
    """Resume at chunk 10 of 200. The next 40 chunks of 24 characters take 20 s."""
    clock = iter([100.0, 120.0, 120.0])
    monkeypatch.setattr(progress_module, "monotonic", lambda: next(clock))
    trainer = SimpleNamespace(
        iteration=10, iterations=200, split=SimpleNamespace(T=6, B=4), settings=SimpleNamespace(max_epochs=9)
    )
    progress = progress_module.Progress(SimpleNamespace(trainer=trainer, notes=()))
    trainer.iteration = 50
    progress.show(Step(50, 2.25, np.float32(1.5), float))
    assert capfd.readouterr().err == "epoch 2.25/9  loss 1.500  48 characters/s  0:01:15 left\n"


def test_a_run_without_end_has_a_remaining_time(monkeypatch, capfd):
    trainer = SimpleNamespace(
        iteration=0,
        iterations=10**400,
        split=SimpleNamespace(T=6, B=4),
        settings=SimpleNamespace(max_epochs=10**20),
    )
    progress = progress_module.Progress(SimpleNamespace(trainer=trainer, notes=()))
    trainer.iteration = 1
    progress.write(0.5, 1.5)
    assert capfd.readouterr().err.endswith(" left\n")


def test_progress_line_is_ended_if_training_fails(text, monkeypatch):
    monkeypatch.setattr(progress_module, "REFRESH", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(minichar.MinicharError, match="training failed"):
        minichar.train(text, **TOY | {"learning_rate": 1e6, "grad_clip": 0.0})
    assert sys.stderr.getvalue().endswith("\n")


def test_progress_prints_notes_about_the_text_first(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    minichar.train("input.txt", **TOY)
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "CR LF" in notes[0]


# Custom training loop


def test_custom_loop_matches_train(text):
    """The loop is a copy of the one in docs/howto/training-loop.md."""
    options = {
        "recipe": "char-rnn",
        "rnn_size": 8,
        "num_layers": 2,
        "batch_size": 4,
        "seq_length": 6,
        "max_epochs": 2,
        "seed": 7,
    }
    trained = minichar.train(text, progress=False, grad_clip=0.3, **options)

    corpus = minichar.load_corpus(text)
    split = minichar.split_text(corpus.ids, 4, 6)
    model = minichar.Model.create(corpus.vocabulary, rnn_size=8, num_layers=2, seed=7)
    network = model.network(split.T, split.B)
    gradient = network.gradient.flat
    optimiser = minichar.RMSprop(model.parameters, decay=0.95)
    limit = 0.3 / split.T
    for _ in range(2):
        network.reset()
        for inputs, targets in split.train:
            network.learn(minichar.teacher_forcing(inputs), targets)
            np.clip(gradient, -limit, limit, out=gradient)
            optimiser.step(gradient, learning_rate=2e-3)
            network.carry()
    np.testing.assert_array_equal(model.parameters.flat, trained.parameters.flat)


def test_train_with_a_recipe(text):
    model = minichar.train(text, progress=False, **TOY | {"recipe": "quick"})
    settings = model.details["settings"]
    assert (settings["recipe"], settings["warmup"], settings["rnn_size"]) == ("quick", 0.1, 8)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_says_why_training_ended_early(text, monkeypatch, terminal):
    monkeypatch.setattr(progress_module, "REFRESH", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    minichar.train(text, max_time=1e-9, **TOY)
    *_, last = sys.stderr.getvalue().splitlines()
    assert last == "ended early: reached the time limit of 1e-09 minutes"
