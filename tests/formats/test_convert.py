"""Test conversion between all formats, from Python and from the command line."""

import json

import handmade
import numpy as np
import pytest
from converting import Converted, contents, convert, text_of

import minichar
import minichar.extras as extras
from minichar.checkpoints.checkpoint import header_of, load, load_training
from minichar.errors import MinicharError
from minichar.formats.convert import load_model, save_model
from minichar.formats.state_dict import to_state_dict

READABLE = {".npz": (), ".safetensors": ("safetensors",), ".pt": ("torch",)}


@pytest.fixture(params=READABLE)
def readable(request, package):
    """Suffix of a readable and writable format. Tests using this fixture run once per format."""
    for name in READABLE[request.param]:
        package(name)
    return request.param


def test_models_round_trip_through_every_readable_format(saved, readable, cell):
    if cell == "gru-reset-before" and readable != ".npz":
        pytest.skip("PyTorch has no equivalent GRU")
    model, path = saved(unknown=True, dropout=0.5, model=cell)
    there = convert(path, path.with_name(f"there{readable}")).path
    assert text_of(minichar.load(there)) == text_of(model)
    back = minichar.load(convert(there, path.with_name("back.npz")).path)
    assert (back.config, back.vocabulary, back.details) == (model.config, model.vocabulary, model.details)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)


def test_save_model_selects_the_format_by_suffix(make, tmp_path, readable):
    model = make()
    save_model(model, tmp_path / f"model{readable}")
    np.testing.assert_array_equal(
        load_model(tmp_path / f"model{readable}").parameters.flat, model.parameters.flat
    )
    with pytest.raises(MinicharError, match=r"its suffix must be one of \.npz, \.safetensors, \.pt, \.onnx"):
        save_model(model, tmp_path / "model.h5")
    with pytest.raises(MinicharError, match="dtype is 'int8'"):
        save_model(model, tmp_path / f"model{readable}", dtype="int8")


def test_commands_give_the_same_output_for_every_readable_format(saved, readable, cli, tmp_path):
    _, path = saved()
    text = tmp_path / "text.txt"
    text.write_text("abcdé詩\n" * 30, encoding="utf-8")
    there = convert(path, path.with_name(f"there{readable}")).path
    for command, *arguments in (
        ["sample", "--length", "50", "--seed", "5"],
        ["eval", "--data", text, "--split", "whole"],
        ["inspect"],
    ):
        one, other = cli(command, path, *arguments), cli(command, there, *arguments)
        assert one.exit_code == other.exit_code == 0, other.output
        assert other.stdout.replace(str(there), str(path)) == one.stdout


def test_the_default_target_is_an_inference_file(trained, cli):
    model, _, path = trained()
    result = cli("convert", path)
    small = path.with_suffix(".inference.npz")
    assert result.stdout == f"{small}\n"
    assert f"{path.stat().st_size:,} bytes" in result.stderr
    assert f"{small.stat().st_size:,}" in result.stderr
    assert contents(small).keys() == {"header", *model.parameters.shapes}
    assert small.stat().st_size < 0.75 * path.stat().st_size
    with pytest.raises(MinicharError, match="no training state"):
        load_training(small)
    np.testing.assert_array_equal(load(small).parameters.flat, model.parameters.flat)
    assert convert(small, path.with_name("twice.npz")).path.read_bytes() == small.read_bytes()


def test_the_default_target_keeps_the_stem(saved, tmp_path, package):
    package("safetensors")
    _, path = saved()
    there = convert(path, to="safetensors").path
    assert there.name == "model.safetensors"
    assert convert(there, to="safetensors").path.name == "model.inference.safetensors"
    assert convert(path.rename(tmp_path / "model_1.5")).path == tmp_path / "model_1.5.inference.npz"


def test_weights_are_written_in_float32_by_default(trained, package):
    package("safetensors")
    model, _, path = trained("float64")
    assert load_model(convert(path).path).parameters.dtype == "float32"
    assert load_model(convert(path, to="safetensors").path).parameters.dtype == "float32"
    wide = convert(path, path.with_name("wide.npz"), dtype="float64").path
    np.testing.assert_array_equal(load_model(wide).parameters.flat, model.parameters.flat)
    half = contents(convert(path, path.with_name("half.npz"), dtype="float16").path)
    assert {str(half[name].dtype) for name in model.parameters.shapes} == {"float16"}


def test_to_selects_the_format_for_an_unknown_suffix(saved, tmp_path):
    model, path = saved()
    (tmp_path / "model.bin").write_bytes(b"mine")
    assert convert(path, tmp_path / "model.bin", force=True, to="npz") == Converted(
        tmp_path / "model.bin", ()
    )
    assert text_of(load_model(tmp_path / "model.bin")) == text_of(model)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_reading_and_writing_npz_need_no_package(saved, monkeypatch, suffix):
    def missing(name):
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(extras, "import_module", missing)
    model, path = saved()
    tensors = to_state_dict(model.config, dict(model.parameters.items()), path)
    header = json.dumps(header_of(model))
    path = path.with_suffix(suffix)
    if suffix == ".pt":
        path.write_bytes(handmade.pt(tensors | {"minichar.json": np.frombuffer(header.encode(), "u1")}))
    elif suffix == ".safetensors":
        path.write_bytes(handmade.safetensors(tensors, header))
    converted = convert(path, path.with_name("converted.npz")).path
    np.testing.assert_array_equal(load_model(converted).parameters.flat, model.parameters.flat)
