import inspect
import os
import re
from itertools import pairwise

import numpy as np
import pytest
from api_helpers import train
from toys import parts, toy_model

import minichar
from minichar.api.surprisal import Surprisal
from minichar.checks import declared
from minichar.engine.config import Config
from minichar.sampling.generate import Generation, generate

# Generation


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 0.3},
        {"top_k": 2},
        {"top_p": 0.4},
        {"min_p": 0.9},
        {"argmax": True},
        {"seed": 5},
        {"stop": ["ab", "cd"]},
        {"stop": "db"},
        {"prime": "aéb", "unknown": "skip"},
        {"prime": "ab"},
        {"length": np.int64(7)},
    ],
)
def test_options_of_generate(model, given):
    """Each option has the same effect as in `sampling.generate`, and changes the text."""
    short = {"length": 40} | given
    text = model.generate(**short)
    assert text == "".join(generate(model, Generation(**short)))
    assert text != model.generate(length=40)
    pieces = list(model.stream(**short))
    assert all(pieces)
    assert "".join(pieces) == text == "".join(piece for (piece,) in minichar.generate_many(model, 1, **short))


def test_every_option_is_in_the_signature_and_the_docstring():
    for function in (minichar.Model.stream, minichar.Model.generate, minichar.generate_many):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in declared(Generation)} == {
            name: field.default for name, field in declared(Generation).items()
        }
        for name, field in declared(Generation).items():
            assert (
                f"\n{name} : {inspect.formatannotation(field.annotation)}\n    {field.help}\n"
                in function.__doc__
            )
    assert "None: a new seed" in minichar.generate_many.__doc__


def test_seed_zero_is_a_seed_and_none_is_not(model):
    assert len({model.generate(length=200, seed=seed) for seed in (0, 0, None, None)}) == 3


def test_only_stream_allows_unlimited_length(model):
    stream = model.stream(length=0)
    assert len("".join(next(stream) for _ in range(2001))) > 2000
    for stop in ((), "", [""]):
        with pytest.raises(minichar.MinicharError, match="stream"):
            model.generate(length=0, stop=stop)
    assert "a" not in model.generate(length=0, stop=iter(["a"]))
    assert model.generate(length=100, stop=iter(["db"])) == model.generate(length=100, stop="db")


# Prediction


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_predict_returns_the_distribution_of_the_next_character(model, temperature):
    text = model.generate(length=150)
    p = model.predict(text, temperature=temperature)
    assert set(p) == set(model.vocabulary.characters)
    assert sum(p.values()) == pytest.approx(1)
    assert list(p.values()) == sorted(p.values(), reverse=True)
    # p ∝ exp(-surprisal / temperature)
    surprisal = {c: model.surprisal(text + c)[-1] for c in p}
    weights = {c: np.exp(-nats / temperature) for c, nats in surprisal.items()}
    assert p == pytest.approx({c: weight / sum(weights.values()) for c, weight in weights.items()})


@pytest.mark.parametrize("reset_on", ["", "ab"])
def test_predict_starts_in_the_same_state_as_generate(model, reset_on):
    model.details = {"settings": {"reset_on": reset_on}}
    for text in ("", "dbabca"):
        likeliest = next(iter(model.predict(text)))
        assert likeliest == model.generate(text, 1, argmax=True)
        assert model.predict(text) == model.predict(text or reset_on or "\n")


def test_predict_without_context_is_uniform():
    """Without a newline in the vocabulary, the first character is drawn uniformly from the known ones."""
    loaded = toy_model("abcd", unknown=True)
    model = minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)
    assert model.predict() == dict.fromkeys("abcd", 0.25)
    assert sum(model.predict("aéb", unknown="unk").values()) == pytest.approx(1)
    with pytest.raises(minichar.MinicharError, match="not in the vocabulary"):
        model.predict("aéb")
    with pytest.raises(minichar.MinicharError, match="temperature"):
        model.predict("ab", temperature=0)


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
    result = model.evaluate(text)
    assert (result.loss, result.characters) == (pytest.approx(np.mean(expected), rel=1e-12), 249)


def test_surprisal_of_a_float32_model_is_computed_in_float64():
    """The surprisal of a character whose probability is almost 1 would be 0 in float32."""
    surprisal, text = {}, ""
    for dtype in ("float64", "float32"):
        loaded = toy_model(dtype=dtype)
        loaded.parameters["readout.W"][...] *= 80
        model = minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)
        text = text or model.generate(length=150)
        surprisal[dtype] = model.surprisal(text)[1:]
    assert surprisal["float64"].min() < 1e-7
    np.testing.assert_allclose(surprisal["float32"], surprisal["float64"], rtol=1e-3)


def test_a_notebook_shows_the_text_coloured_by_surprisal(model):
    hostile = Surprisal(np.array([np.nan, 0.0, 3.0, 6.0, 60.0, 1.0]), "<&\n\x1b\ud800'")
    shown = hostile._repr_html_()
    shown.encode()  # valid UTF-8
    parts = re.findall(r'<span style="[^"]*/ ([^"]*)\)" title="([^"]*)">([^<]*)</span>', shown)
    assert parts == [
        ("0.00", "not predicted", "&lt;"),
        ("0.00", "0.00 nats", "&amp;"),
        ("0.35", "3.00 nats", "↵\n"),
        ("0.70", "6.00 nats", "U+001B"),
        ("0.70", "60.00 nats", "U+D800"),
        ("0.12", "1.00 nats", "&#x27;"),
    ]
    assert shown.count("<") == 2 * len(parts) + 2
    surprisal = model.surprisal("abcd")
    assert len(re.findall("nats", surprisal._repr_html_())) == 3
    for plain in (surprisal[1:], np.sort(surprisal), surprisal.copy()):
        assert plain._repr_html_() is None
    assert type(surprisal[1:].mean()) is np.float64
    long = Surprisal(np.ones(10_002), "a" * 10_002)._repr_html_()
    assert long.count("<span") == 10_000
    assert long.endswith("</span>… (2 more characters)</div>")


def test_unknown_characters_raise_are_skipped_or_use_the_unknown_token(model):
    for measure in (model.evaluate, model.surprisal, model.generate):
        with pytest.raises(minichar.MinicharError, match=r"'é'.*'ü'") as caught:
            measure("abécaü")
        assert "\n" not in str(caught.value)
    assert model.evaluate("abécaüd", unknown="skip") == model.evaluate("abcad")
    surprisal = model.surprisal("éabécaüd", unknown="skip")
    assert np.isnan(surprisal).tolist() == [True, True, False, True, False, False, True, False]
    np.testing.assert_array_equal(surprisal[[2, 4, 5, 7]], model.surprisal("abcad")[1:])
    loaded = toy_model(unknown=True)
    model = minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)
    surprisal = model.surprisal("abécd", unknown="unk")
    assert np.isnan(surprisal).tolist() == [True] + [False] * 4
    assert model.evaluate("abécd", unknown="unk").loss == pytest.approx(surprisal[1:].mean())


def test_text_that_is_short_or_of_another_type(model):
    for measure in (model.evaluate, model.surprisal, model.predict):
        for text in (b"ab", None):
            with pytest.raises(minichar.MinicharError, match=r"^text is .*; it must be text$"):
                measure(text)
    assert model.surprisal("").shape == (0,)
    assert np.isnan(model.surprisal("a")).tolist() == [True]
    for text in ("", "a", "éaé"):
        with pytest.raises(minichar.MinicharError, match="at least 2"):
            model.evaluate(text, unknown="skip")


# Creation, saving and description


def test_create():
    vocabulary = minichar.Vocabulary("abc")
    options = {"model": "gru-reset-before", "rnn_size": 5, "num_layers": 3, "dropout": 0.5}
    options |= {"weight_drop": 0.1, "embedding": 5, "layer_norm": True, "tied": True}
    model = minichar.Model.create(vocabulary, **options, seed=4, dtype="float64")
    assert model.config == Config(3, **options)
    same = minichar.CharRNN.new(Config(3, **options), vocabulary, 4, "float64")
    np.testing.assert_array_equal(model.parameters.flat, same.parameters.flat)
    assert minichar.Model.create(vocabulary).config == Config(3)
    assert (len(model.history), len(model.exact().generate(length=20))) == (0, 20)
    for wrong, words in (
        ({"dtype": "int32"}, "dtype is 'int32'; it must be one of float32, float64"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"vocabulary": "abc"}, "vocabulary is 'abc'; it must be a Vocabulary"),
    ):
        with pytest.raises(minichar.MinicharError, match=words):
            minichar.Model.create(**{"vocabulary": vocabulary} | wrong)


def test_save_overwrites_a_file_and_converts_the_dtype(model, tmp_path):
    (tmp_path / "m.npz").write_text("old")
    model.save(str(tmp_path / "m.npz"), dtype="float16")
    assert parts(tmp_path / "m.npz")[1]["readout.W"].dtype == "float16"
    with pytest.raises(minichar.MinicharError, match="int8"):
        model.save(tmp_path / "m.npz", dtype="int8")


def test_repr_has_three_lines(text, model):
    trained = repr(train("input.txt")).splitlines()
    loss = re.escape(os.listdir("cv")[0].rpartition("_")[2].removesuffix(".npz"))
    expected = [
        r"minichar\.Model: LSTM, 1 layer of 8, [\d,]+ parameters",
        rf"  trained on input\.txt for 1\.00 epochs, validation loss {loss} nats per character",
        r"  on cpu, float32",
    ]
    assert len(trained) == 3
    assert all(map(re.fullmatch, expected, trained)), trained
    assert repr(model).splitlines()[1:] == ["  no training record", "  on cpu, float64"]
    assert "not validated" in repr(train(text, val_frac=0.0))
    for corrupted in (None, "x", [], {"path": 3}):
        model.details = {"origin": corrupted, "epoch": corrupted, "val_loss": corrupted}
        assert len(repr(model).splitlines()) == 3
        model.details = {"origin": {"path": "x"}, "epoch": 1.0, "val_loss": corrupted}
        assert "not validated" in repr(model)
