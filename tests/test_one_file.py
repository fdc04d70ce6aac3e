"""Test ``docs/char_rnn.py``, a single-file language model that does not import minichar."""

import ast
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from toys import TEXT, toy_model

from minichar.devices.cpu import CPU
from minichar.text.batches import split_text
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

PATH = Path(__file__).parents[1] / "docs" / "char_rnn.py"
SOURCE = PATH.read_text(encoding="utf-8")
T, B = 6, 4


@pytest.fixture
def one_file():
    """Import ``char_rnn.py`` as a module."""
    spec = spec_from_file_location("char_rnn", PATH)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model():
    """Return a one-layer float64 LSTM for the characters of `TEXT`."""
    return toy_model("".join(sorted(set(TEXT))), rnn_size=5, num_layers=1)


def weights_of(model):
    """Return copies of the engine's weights as ``(W, R)``, in the layout of ``char_rnn.py``."""
    W, Wx, R = (model.parameters[name] for name in ("layer1.W", "layer1.Wx", "readout.W"))
    return np.hstack([W[:, :-1], Wx, W[:, -1:]]), R.copy()


def test_an_epoch_of_training_changes_the_parameters_like_the_engine(one_file, model, monkeypatch):
    """Both programs split the text into the same chunks, carry states, clip gradients and use RMSprop."""
    monkeypatch.setattr(one_file, "LIMIT", 0.005)  # clips some elements of the gradient, but not all
    ids, V = model.vocabulary.encode(TEXT), len(model.vocabulary)
    W, R = weights_of(model)
    mean_squares = np.zeros_like(W), np.zeros_like(R)
    h = c = np.zeros((len(W) // 4, B))
    settings = Settings(
        grad_clip=one_file.LIMIT * T,
        learning_rate=one_file.LEARNING_RATE,
        decay_rate=one_file.DECAY,
        weight_decay=0.0,
        ema=0.0,
    )
    engine, uniform = TrainingStep(model, T, B, settings), CPU.uniform(1)
    theirs = split_text(ids, B, T, train_frac=1.0, val_frac=0.0).train
    before = W.copy()
    clipped = steps = 0
    for (inputs, targets), chunk in zip(one_file.chunks(ids, V, T, B), theirs, strict=True):
        loss, gradients, h, c = one_file.loss_and_gradient(W, R, inputs, targets, h, c)
        one_file.update((W, R), gradients, mean_squares)
        assert (inputs.sum(axis=1) == 1).all()
        engine.learn(*chunk, uniform)
        assert loss == pytest.approx(float(engine.loss), rel=1e-12)
        clipped += sum((abs(g) > one_file.LIMIT).sum() for g in gradients)
        steps += 1
    assert steps == len(theirs) > 10
    assert 0 < clipped < steps * (W.size + R.size) / 2
    assert abs(W - before).max() > 0.01
    for ours, theirs in zip((W, R), weights_of(model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_it_generates_the_same_characters_as_the_engine_at_its_temperature(one_file, model):
    """Both programs sample from the softmax of logits / temperature with the same random numbers."""
    network, V, k = model.network(1, 1), len(model.vocabulary), 3
    x = np.arange(V)[:, None] == k
    found = list(one_file.sample(*weights_of(model), x, 50, np.random.default_rng(1)))
    generator = np.random.default_rng(1)
    for id_found in found:
        logits = network.step(0, np.array([k]))[:, 0]
        network.carry()
        p = np.exp(logits / one_file.TEMPERATURE)
        k = generator.choice(V, p=p / p.sum())
        assert id_found == k
    assert len(set(found)) > 5


def test_the_gradient_check_notices_a_wrong_gradient(one_file, model, monkeypatch):
    W, R = weights_of(model)
    chunk = next(one_file.chunks(model.vocabulary.encode(TEXT), len(model.vocabulary), T, B))
    assert one_file.gradient_error(W, R, *chunk, np.random.default_rng(1)) < 1e-6
    right = one_file.lstm_backward
    monkeypatch.setattr(one_file, "lstm_backward", lambda W, dh, dc, cache: right(W, dh, 0.9 * dc, cache))
    assert one_file.gradient_error(W, R, *chunk, np.random.default_rng(1)) > 1e-4


def test_the_softmax_of_large_logits_does_not_overflow(one_file):
    """An overflow would cause a NumPy warning, and the tests turn warnings into errors."""
    p, _ = one_file.readout(np.array([[2000.0, 0.0], [-2000.0, 0.0]]), np.array([[1.0, -1.0, 0.0]]))
    np.testing.assert_array_equal(p, [[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])


def test_initial_weights_are_small_except_for_the_forget_gate(one_file):
    H, V = 5, 7
    W, R = one_file.initial_weights(V, H, np.random.default_rng(1))
    assert (W.shape, R.shape) == ((4 * H, H + V + 1), (V, H + 1))
    assert (W[H : 2 * H, -1] == 1).all()
    W[H : 2 * H, -1] = 0
    assert 0.07 < abs(W).max() <= 0.08
    assert 0.07 < abs(R).max() <= 0.08


def test_the_file_is_short_and_imports_only_numpy():
    assert len(SOURCE.splitlines()) <= 150
    imported = [
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert imported == ["sys", "pathlib", "numpy"]


def test_the_page_explains_every_function():
    page = (PATH.parent / "one-file.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    defined = [node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef)]
    assert explained == defined


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs ``char_rnn.py`` as a script."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(PATH), *map(str, arguments)])
        run_path(str(PATH), run_name="__main__")

    return run


def test_it_trains_and_prints_text(run, tmp_path, capsys):
    path = tmp_path / "input.txt"
    path.write_text(TEXT, encoding="utf-8")
    run(path)
    out = capsys.readouterr().out
    assert float(re.match(r"relative error of the gradient: (.*)", out)[1]) < 1e-6
    losses = [float(loss) for loss in re.findall(r"^--- epoch \d+, chunk 0, .* (\S+)$", out, re.MULTILINE)]
    assert len(losses) == 10
    assert losses[0] == pytest.approx(np.log(len(set(TEXT))), abs=0.05)
    assert losses[-1] < losses[0] - 0.1
    generated = re.split(r"--- epoch .*\n", out)[-1]
    assert len(generated) == 201
    assert set(generated) <= set(TEXT)


@pytest.mark.parametrize("arguments", [(), ("nowhere.txt",), (PATH, "2")])
def test_without_a_text_it_prints_its_usage(run, arguments):
    with pytest.raises(SystemExit, match=r"^usage: python char_rnn\.py input\.txt$"):
        run(*arguments)
