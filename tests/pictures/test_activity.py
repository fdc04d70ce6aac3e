import numpy as np
import pytest
from toys import toy_model

from minichar.errors import MinicharError
from minichar.pictures import activity
from minichar.pictures.activity import read_activity
from minichar.training.evaluation import evaluate_streams

NAMES = {"lstm": "ifo", "gru": "rz", "gru-reset-before": "rz", "rnn": "h"}


@pytest.fixture
def ids(generator):
    return generator.integers(6, size=250).astype("uint8")  # the last chunk is half full


@pytest.mark.parametrize("reset_on", ["", "a"])
def test_the_mean_surprise_is_the_loss(ids, reset_on):
    model = toy_model(unknown=True)
    model.details["settings"] = {"reset_on": reset_on}
    surprise = read_activity(model, ids).surprise
    assert np.isnan(surprise[0])
    loss = evaluate_streams(model, ids[None], resets=model.resets(ids)).loss
    assert surprise[1:].mean() == pytest.approx(loss, rel=1e-12)


def test_states_and_alternatives_equal_those_from_a_single_forward_pass(cell, ids):
    model = toy_model(unknown=True, model=cell)
    found = read_activity(model, ids)
    network = model.network(len(ids), 1)
    logits = network.forward(ids[:, None].astype("int64"))[:-1, :, 0]  # (N-1, V)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    best = p.argsort(axis=1)[:, ::-1][:, :5]
    assert (found.likeliest[1:] == best).all()
    np.testing.assert_allclose(found.probability[1:], np.take_along_axis(p, best, axis=1), rtol=1e-12)
    for layer, states in zip(network.layers, found.states, strict=True):
        after = np.array([step[-1] for step in layer.states[1:]])[:, :, 0]  # (N, H): c or h
        wanted = np.tanh(after) if cell == "lstm" else after
        np.testing.assert_allclose(states, wanted.T, rtol=1e-12)


def test_a_large_bias_saturates_only_its_gate(cell, ids):
    """The gates of a cell are the first rows of its weights."""
    model = toy_model(unknown=True, scale=1.0, model=cell)
    H, bias = model.config.rnn_size, model.parameters["layer1.W"][:, -1]
    for row, name in enumerate(NAMES[cell]):
        for value, end in ((200, -1), (-200, 0)):
            before = bias.copy()
            bias[row * H : (row + 1) * H] = value
            gates = read_activity(model, ids).gates
            assert [(gate.layer, gate.name) for gate in gates] == [
                (i, g) for i in (1, 2) for g in NAMES[cell]
            ]
            for gate in gates:
                assert gate.shares.sum() == pytest.approx(1)
                assert (gate.shares[end] == 1) == ((gate.layer, gate.name) == (1, name))
            bias[...] = before


def test_the_gates_are_counted_in_all_chunks(ids, monkeypatch):
    model = toy_model(unknown=True)
    expected = read_activity(model, ids).gates
    monkeypatch.setattr(activity, "CHUNK", 7)
    for one, other in zip(read_activity(model, ids).gates, expected, strict=True):
        np.testing.assert_array_equal(one.shares, other.shares)


@pytest.mark.parametrize("N", [1, 2, 100, 101])
def test_short_text(N):
    found = read_activity(toy_model("ab"), np.zeros(N, "uint8"))
    assert found.states.shape == (2, 4, N)
    assert found.likeliest.shape == (N, 2)
    assert np.isfinite(found.surprise).sum() == N - 1


def test_overflow_is_an_error(ids):
    model = toy_model(unknown=True, dtype="float32")
    model.parameters.flat[...] = 50
    model.parameters["readout.W"][...] = np.finfo("float32").max
    with pytest.raises(MinicharError, match="the model's logits are not finite"):
        read_activity(model, ids)
