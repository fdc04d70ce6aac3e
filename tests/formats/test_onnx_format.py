import json

import numpy as np
import pytest
from converting import convert

from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.formats import onnx as onnx_format
from minichar.formats.gates import split

LAYERS = [1, 2, 3]


@pytest.fixture
def onnx(package):
    return package("onnx")


@pytest.fixture
def session(package):
    """Return a function that opens a file in onnxruntime."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    return lambda path: runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def states_of(model, state):
    """Turn ``(L, states, H, B)`` into what the graph wants: h, and c in an LSTM, each ``(L, B, H)``."""
    names = ("h", "c")[: model.config.cell.n_states]
    return {name: state[:, i].transpose(0, 2, 1) for i, name in enumerate(names)}


@pytest.mark.parametrize("layers", LAYERS)
def test_a_step_agrees_with_the_engine(saved, run, ids, state, onnx, session, cell, layers):
    model, path = saved(layers=layers, **cell)
    opened = session(convert(path, to="onnx").path)
    begin = state(model).astype("float32")
    expected, last = run(model, ids, begin)

    names = [value.name for value in opened.get_inputs()]
    states = states_of(model, begin)
    assert names == ["ids", *states]
    for t in range(len(ids)):
        logits, *after = opened.run(None, {"ids": ids[t], **states})
        np.testing.assert_allclose(logits, expected[t].T, rtol=0, atol=1e-5)
        states = dict(zip(states, after, strict=True))
    for name, values in states_of(model, last).items():
        np.testing.assert_allclose(states[name], values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_sequence_agrees_with_the_engine(saved, run, ids, state, onnx, session, cell, layers):
    model, path = saved(layers=layers, **cell)
    opened = session(convert(path, to="onnx", sequence=True).path)
    begin = state(model).astype("float32")
    expected, last = run(model, ids, begin)

    logits, *after = opened.run(None, {"ids": ids, **states_of(model, begin)})
    np.testing.assert_allclose(logits, expected.transpose(0, 2, 1), rtol=0, atol=1e-5)
    for found, values in zip(after, states_of(model, last).values(), strict=True):
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-5)


def test_other_lengths_and_batches_run_in_the_same_file(saved, onnx, session):
    _, path = saved(model="gru")
    opened = session(convert(path, to="onnx", sequence=True).path)
    for T, B in ((1, 1), (9, 4)):
        zeros = np.zeros((2, B, 3), dtype="float32")
        logits, h = opened.run(None, {"ids": np.zeros((T, B), dtype="int64"), "h": zeros})
        assert logits.shape == (T, B, 7)
        assert h.shape == (2, B, 3)


def test_float64_agrees_to_the_last_digits(saved, run, ids, state, onnx, cell):
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    model, path = saved(dtype="float64", **cell)
    converted = convert(path, path.with_suffix(".onnx"), dtype="float64", sequence=True)
    begin = state(model)
    expected, _ = run(model, ids, begin)
    graph = evaluator(onnx.load(str(converted.path)))
    logits = graph.run(["logits"], {"ids": ids, **states_of(model, begin)})[0]
    np.testing.assert_allclose(logits, expected.transpose(0, 2, 1), rtol=0, atol=1e-12)
    assert any("float32 only" in note for note in converted.notes)


def test_float16_is_stored_and_float32_computed(saved, run, ids, state, onnx, session, cell):
    model, path = saved(**cell)
    small = convert(path, path.with_suffix(".onnx"), dtype="float16", sequence=True).path
    kinds = {value.data_type for value in onnx.load(str(small)).graph.initializer if len(value.dims) > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    begin = state(model).astype("float32")
    expected, _ = run(model, ids, begin)
    logits = session(small).run(["logits"], {"ids": ids, **states_of(model, begin)})[0]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected.transpose(0, 2, 1), rtol=0, atol=2e-2)


def test_the_metadata_holds_characters_and_configuration(saved, onnx, cell):
    model, path = saved(dropout=0.25, unknown=True, **cell)
    converted = convert(path, to="onnx")
    made = onnx.load(str(converted.path))
    onnx.checker.check_model(made, full_check=True)
    header = json.loads({prop.key: prop.value for prop in made.metadata_props}["minichar"])
    assert Config(**header["config"]) == model.config
    assert header["vocabulary"] == {"characters": model.vocabulary.characters, "unknown": True}
    assert header["details"] == model.details
    assert [note.split(",")[0] for note in converted.notes] == [
        "left out: dropout 0.25",
        "the last id stands for all unknown characters: leave it out when you draw",
    ]


def test_blocks_of_rows_are_moved_whole(make):
    model = make(model="lstm")
    weights = dict(model.parameters.items())
    gates = split(model.config, weights, 2)
    i, f, o, g = np.split(gates.W_recurrent, 4)
    moved = gates.reordered(onnx_format.ORDER["lstm"])
    np.testing.assert_array_equal(moved.W_recurrent, np.concatenate([i, o, f, g]))
    np.testing.assert_array_equal(moved.b_input.reshape(4, 3)[1], gates.b_input.reshape(4, 3)[2])


def test_a_model_too_large_for_a_message_is_refused(saved, onnx, monkeypatch):
    _, path = saved()
    monkeypatch.setattr(onnx_format, "MAX_BYTES", 100)
    with pytest.raises(MinicharError, match="less than 2 GiB"):
        convert(path, to="onnx")
    assert not path.with_suffix(".onnx").exists()
