import json

import numpy as np
import pytest
from converting import convert

from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.formats import onnx as onnx_format


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
    """Convert states ``(L, states, H, B)`` to a dict of graph inputs, each ``(L, B, H)``."""
    return {name: state[:, i].transpose(0, 2, 1) for i, name in enumerate(model.config.cell.states)}


def test_a_step_agrees_with_the_engine(saved, run, ids, state, onnx, session, cell):
    model, path = saved(layers=3, model=cell)
    opened = session(convert(path, path.with_suffix(".onnx")).path)
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


def test_one_file_supports_any_length_and_batch_size(saved, run, state, onnx, session):
    model, path = saved(model="gru")
    opened = session(convert(path, path.with_suffix(".onnx"), sequence=True).path)
    for length in (1, 6):
        ids = np.random.default_rng(length).integers(7, size=(6, 2))
        begin = state(model).astype("float32")
        expected, last = run(model, ids, begin)
        logits, h = opened.run(None, {"ids": ids[:length], **states_of(model, begin)})
        np.testing.assert_allclose(logits, expected[:length].transpose(0, 2, 1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(h, states_of(model, last)["h"], rtol=0, atol=1e-5)
    zeros = np.zeros((2, 4, 3), dtype="float32")
    assert opened.run(None, {"ids": np.zeros((9, 4), "int64"), "h": zeros})[0].shape == (9, 4, 7)


def test_float64_agrees_to_1e_12(saved, run, ids, state, onnx, cell):
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    model, path = saved(dtype="float64", model=cell)
    converted = convert(path, path.with_suffix(".onnx"), dtype="float64", sequence=True)
    begin = state(model)
    expected, _ = run(model, ids, begin)
    graph = evaluator(onnx.load(str(converted.path)))
    logits = graph.run(["logits"], {"ids": ids, **states_of(model, begin)})[0]
    np.testing.assert_allclose(logits, expected.transpose(0, 2, 1), rtol=0, atol=1e-12)
    assert any("only in float32" in note for note in converted.notes)


def test_float16_weights_are_stored_and_cast_to_float32(saved, run, ids, state, onnx, session):
    model, path = saved(model="gru")
    small = convert(path, path.with_suffix(".onnx"), dtype="float16", sequence=True).path
    kinds = {value.data_type for value in onnx.load(str(small)).graph.initializer if len(value.dims) > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    begin = state(model).astype("float32")
    expected, _ = run(model, ids, begin)
    logits = session(small).run(["logits"], {"ids": ids, **states_of(model, begin)})[0]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected.transpose(0, 2, 1), rtol=0, atol=2e-2)


def test_the_metadata_contains_vocabulary_and_configuration(saved, onnx):
    model, path = saved(dropout=0.25, unknown=True)
    converted = convert(path, path.with_suffix(".onnx"))
    made = onnx.load(str(converted.path))
    onnx.checker.check_model(made, full_check=True)
    header = json.loads({prop.key: prop.value for prop in made.metadata_props}["minichar"])
    assert Config(**header["config"]) == model.config
    assert header["vocabulary"] == {"characters": model.vocabulary.characters, "unknown": True}
    assert header["details"] == model.details
    assert [note.split(":")[0] for note in converted.notes] == [
        "dropout 0.25 is used only during training, so it is stored only in the metadata",
        "the last id is the unknown token",
    ]


def test_a_model_too_large_for_protobuf_is_rejected(saved, onnx, monkeypatch):
    model, path = saved()
    monkeypatch.setattr(onnx_format, "MAX_BYTES", model.parameters.flat.nbytes)
    convert(path, path.with_suffix(".onnx"))
    monkeypatch.setattr(onnx_format, "MAX_BYTES", model.parameters.flat.nbytes - 1)
    with pytest.raises(MinicharError, match=r"exceeds the 2 GiB limit of \.onnx"):
        convert(path, path.with_name("other.onnx"))
    assert not path.with_name("other.onnx").exists()
