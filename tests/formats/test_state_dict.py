import json
import os
import re

import numpy as np
import pytest
from converting import convert, tensors_of, write

import minichar
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError, Refused
from minichar.formats.convert import load_model, save_model
from minichar.formats.state_dict import from_state_dict

SUFFIXES = [".safetensors", ".pt"]


@pytest.fixture
def torch(package):
    return package("torch")


@pytest.fixture(params=SUFFIXES)
def suffix(request, package):
    package({".safetensors": "safetensors", ".pt": "torch"}[request.param])
    return request.param


@pytest.fixture
def tensors_in(torch, package):
    """Return a function that reads a file with PyTorch instead of minichar."""

    def tensors_in(path):
        if path.suffix == ".pt":
            return torch.load(path, weights_only=True)
        return package("safetensors.torch").load_file(path)

    return tensors_in


def read(tensors, header=None, vocabulary=None):
    return from_state_dict(dict(tensors), header, "file", vocabulary, CPU)


def modules_of(torch, model):
    """Return the float64 PyTorch modules that are equivalent to the model."""
    V, H, layers = model.config.vocab_size, model.config.rnn_size, model.config.num_layers
    cell = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[model.config.model]
    return torch.nn.ModuleDict({"rnn": cell(V, H, layers), "decoder": torch.nn.Linear(H, V)}).double()


def logits_of(torch, modules, model, ids, state):
    """Return the logits ``(T, V, B)`` computed by PyTorch."""
    states = [torch.from_numpy(s.transpose(0, 2, 1).copy()) for s in state.swapaxes(0, 1)]
    onehot = torch.nn.functional.one_hot(torch.from_numpy(ids), model.config.vocab_size).double()
    with torch.no_grad():
        y, _ = modules["rnn"](onehot, tuple(states) if len(states) > 1 else states[0])
        return modules["decoder"](y).numpy().transpose(0, 2, 1)


def test_pytorch_computes_the_same_logits_from_a_minichar_file(
    saved, run, ids, state, torch, tensors_in, suffix, in_pytorch
):
    model, path = saved(layers=3, dtype="float64", **in_pytorch)
    tensors = tensors_in(convert(path, path.with_suffix(suffix), dtype="float64").path)
    tensors.pop("minichar.json", None)
    modules = modules_of(torch, model)
    modules.load_state_dict(tensors, strict=True)
    begin = state(model)
    expected, _ = run(model, ids, begin)
    np.testing.assert_allclose(logits_of(torch, modules, model, ids, begin), expected, rtol=0, atol=1e-12)


def test_minichar_computes_the_same_logits_from_a_pytorch_file(
    tmp_path, make, run, ids, state, torch, package, suffix, in_pytorch
):
    text = tmp_path / "text.txt"
    text.write_text("éa\ncbd詩", encoding="utf-8")
    like = make(layers=3, dtype="float64", **in_pytorch)
    torch.manual_seed(1)
    modules = modules_of(torch, like)  # both biases are random
    path = tmp_path / f"foreign{suffix}"
    save_file = torch.save if suffix == ".pt" else package("safetensors.torch").save_file
    save_file(dict(modules.state_dict()), path)
    assert convert(path, dtype="float64", vocab_from=str(tmp_path)).path == tmp_path / "foreign.npz"
    model = minichar.load(tmp_path / "foreign.npz")
    assert model.config == like.config
    assert model.vocabulary == like.vocabulary
    begin = state(model)
    logits, _ = run(model, ids, begin)
    np.testing.assert_allclose(logits_of(torch, modules, model, ids, begin), logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("directory", [False, True])
def test_the_vocabulary_can_come_from_a_model(tmp_path, saved, directory):
    model, path = saved()
    foreign = write(tmp_path / "foreign.pt", tensors_of(model)[0])
    if directory:
        (tmp_path / "cv").mkdir()
        path.rename(tmp_path / "cv" / "lm_lstm_epoch1.00_1.5000.npz")
        (tmp_path / "cv" / "input.txt").write_text("another text")
        path = tmp_path / "cv"
    with pytest.raises(MinicharError, match="contains no vocabulary: convert it with `minichar"):
        convert(foreign)
    convert(foreign, vocab_from=path)
    assert minichar.load(tmp_path / "foreign.npz").vocabulary == model.vocabulary
    own = write(tmp_path / "own.pt", *tensors_of(model))  # reported before the other vocabulary is read
    with pytest.raises(MinicharError, match="already contains its vocabulary: omit vocab_from"):
        convert(own, vocab_from=tmp_path / "missing.txt")


def test_a_gru_with_the_reset_before_the_matrix_product_is_rejected(saved):
    before, path = saved(model="gru-reset-before")
    message = re.escape(f"{before.config.cell.title} has no PyTorch counterpart; use .npz")
    with pytest.raises(MinicharError, match=message):
        convert(path, path.with_suffix(".pt"))
    assert os.listdir(path.parent) == ["model.npz"]


def test_notes_mention_what_the_tensors_do_not_contain(saved, suffix):
    _, path = saved(dropout=0.25, weight_drop=0.2, embedding=3, unknown=True)
    assert convert(path, path.with_suffix(suffix)).notes == (
        "dropout 0.25 is used only during training, so it is stored only in the metadata",
        "weight drop 0.2 is used only during training, so it is stored only in the metadata",
        "the embedding is folded into the input weights of the first layer",
        "the last id is the unknown token: exclude it when sampling",
    )
    _, plain = saved("plain.npz")
    assert convert(plain, plain.with_suffix(suffix)).notes == ()


def test_the_error_for_a_wrong_tensor_contains_its_name(tmp_path, make):
    tensors, header = tensors_of(make())
    W = tensors["decoder.weight"]
    for wrong, message in (
        ({"rnn.bias_hh_l1": None}, r"rnn\.bias_hh_l1 is missing"),
        ({"rnn.weight_hr_l0": np.ones(2, "f4")}, "weight_hr_l0 is unexpected"),
        ({"decoder.weight": W.T.copy()}, r"has shape \(3, 7\) instead of \(7, 3\)"),
        ({"decoder.weight": W * np.float32("nan")}, "decoder.weight has values that are not"),
    ):
        changed = {name: array for name, array in (tensors | wrong).items() if array is not None}
        for suffix in SUFFIXES:
            path = write(tmp_path / f"wrong{suffix}", changed, header)
            with pytest.raises(MinicharError, match=rf"^{path} is not a model that .* can read: .*{message}"):
                load_model(path)


def test_a_header_that_is_too_large_is_neither_written_nor_read(tmp_path, make, monkeypatch, suffix):
    model, path = make(details={"notes": list(range(2000))}), tmp_path / f"model{suffix}"
    save_model(model, path)
    monkeypatch.setattr("minichar.checkpoints.archive.MAX_HEADER_VALUES", 1000)
    with pytest.raises(MinicharError, match="header has more than 1,000 values"):
        load_model(path)
    with pytest.raises(MinicharError, match=r"cannot write .*: its header has more than 1,000 values"):
        save_model(model, path)


def test_a_header_with_huge_sizes_is_rejected_before_memory_is_allocated(make):
    tensors, header = tensors_of(make())
    giant = json.loads(header)
    giant["config"] |= {"rnn_size": 1 << 20, "num_layers": 1 << 20}
    with pytest.raises(Refused, match="is unexpected"):
        read(tensors, json.dumps(giant))
    giant["config"] |= {"num_layers": 2}
    with pytest.raises(Refused, match=r"instead of \(7, 1048576\)"):
        read(tensors, json.dumps(giant))


def test_inconsistent_state_dicts_are_rejected(make):
    tensors, header = tensors_of(make())
    vocabulary = minichar.Vocabulary("ab")
    for wrong in ({"weight": np.ones((2, 2), "f4")}, tensors | {"rnn.weight_hh_l0": np.ones((12, 5), "f4")}):
        with pytest.raises(Refused, match=r"rnn\.weight_hh_l0 are missing or do not fit"):
            read(wrong)
    with pytest.raises(Refused, match="has 7 characters, but the given vocabulary has 2"):
        read(tensors, None, vocabulary)
    with pytest.raises(MinicharError, match="already contains its vocabulary: do not pass another"):
        read(tensors, header, vocabulary)
    for name in ("\x1b[31m", "a" * 256):
        with pytest.raises(Refused, match=r"^[^\x1b]{1,300}$"):
            read(tensors | {name: np.ones(2, "f4")}, header)
    described = json.loads(header)
    described["config"]["embedding"] = 5
    with pytest.raises(Refused, match="its header describes an embedding, which a state dict cannot"):
        read(tensors, json.dumps(described))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_files_and_directories_are_errors(tmp_path, suffix):
    with pytest.raises(MinicharError, match="No such file"):
        load_model(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(MinicharError, match="cannot read"):
        load_model(tmp_path / f"folder{suffix}")


def test_the_sum_of_two_float16_biases_does_not_overflow(make):
    tensors, header = tensors_of(make())
    tensors = {name: array.astype("f2") for name, array in tensors.items()}
    tensors["rnn.bias_ih_l0"][0] = tensors["rnn.bias_hh_l0"][0] = 60000
    back = read(tensors, header)
    assert back.parameters["layer1.W"][0, -1] == np.float32(np.float16(60000)) * 2
