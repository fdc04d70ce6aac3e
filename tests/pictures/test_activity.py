import numpy as np
import pytest
from toys import toy_model

from minichar.errors import MinicharError
from minichar.pictures import activity
from minichar.pictures.activity import read_activity
from minichar.training.evaluation import evaluate_whole


@pytest.fixture
def ids(generator):
    return generator.integers(6, size=250).astype("uint8")  # the last chunk is half full


@pytest.fixture
def model(cell):
    return toy_model(unknown=True, model=cell)


@pytest.mark.parametrize("reset_on", ["", "a"])
def test_the_mean_surprise_is_the_loss(model, ids, reset_on):
    model.details["settings"] = {"reset_on": reset_on}
    surprise = read_activity(model, ids).surprise
    assert np.isnan(surprise[0])
    loss = evaluate_whole(model, ids, resets=model.resets(ids)).loss
    assert surprise[1:].mean() == pytest.approx(loss, rel=1e-12)


def test_states_and_alternatives_equal_those_from_a_single_forward_pass(model, ids):
    found = read_activity(model, ids)
    network = model.network(len(ids), 1)
    logits = network.forward(ids[:, None].astype("int64"))[:-1, :, 0]  # (N-1, V)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    best = p.argsort(axis=1)[:, ::-1][:, :5]
    assert (found.likeliest[1:] == best).all()
    np.testing.assert_allclose(found.probability[1:], np.take_along_axis(p, best, axis=1), rtol=1e-12)
    for layer, states in zip(network.layers, found.states, strict=True):
        after = np.array([step[-1] for step in layer.states[1:]])[
            :, :, 0
        ]  # (N, H): c in an LSTM, otherwise h
        wanted = np.tanh(after) if model.config.model == "lstm" else after
        np.testing.assert_allclose(states, wanted.T, rtol=1e-12)


NAMES = {"lstm": "ifo", "gru": "rz", "gru-reset-before": "rz", "rnn": "h"}


def test_gate_histograms(model, ids):
    gates = read_activity(model, ids).gates
    names = NAMES[model.config.model]
    assert [(gate.layer, gate.name) for gate in gates] == [
        (layer, name) for layer in (1, 2) for name in names
    ]
    for gate in gates:
        assert gate.shares.sum() == pytest.approx(1)
        assert 0 <= gate.left + gate.right <= 1
        edge = 2 if gate.low == 0 else 1  # number of bins within 0.1 of one end of the range
        assert gate.left == pytest.approx(gate.shares[:edge].sum())
        assert gate.right == pytest.approx(gate.shares[-edge:].sum())


@pytest.mark.parametrize(
    ("arguments", "weight", "row", "name"),
    [
        ({"model": "lstm"}, "layer1.W", 0, "i"),
        ({"model": "lstm"}, "layer1.W", 1, "f"),
        ({"model": "lstm"}, "layer1.W", 2, "o"),
        ({"model": "gru"}, "layer1.W", 0, "r"),
        ({"model": "gru"}, "layer1.W", 1, "z"),
        ({"model": "gru-reset-before"}, "layer1.W", 0, "r"),
        ({"model": "gru-reset-before"}, "layer1.W", 1, "z"),
        ({"model": "rnn"}, "layer1.W", 0, "h"),
    ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_large_bias_saturates_only_its_gate(arguments, weight, row, name, sign, ids):
    model = toy_model(unknown=True, scale=1.0, **arguments)
    H = model.config.rnn_size
    model.parameters[weight][row * H : (row + 1) * H, -1] = 200 * sign
    for gate in read_activity(model, ids).gates:
        saturated = gate.right if sign > 0 else gate.left
        assert (saturated == 1) == ((gate.layer, gate.name) == (1, name))


def test_the_result_does_not_depend_on_the_chunk_length(model, ids, monkeypatch):
    expected = read_activity(model, ids)
    monkeypatch.setattr(activity, "CHUNK", 7)
    found = read_activity(model, ids)
    np.testing.assert_allclose(found.states, expected.states, rtol=1e-9)
    np.testing.assert_allclose(found.surprise, expected.surprise, rtol=1e-9)
    assert [gate.left for gate in found.gates] == [gate.left for gate in expected.gates]


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
