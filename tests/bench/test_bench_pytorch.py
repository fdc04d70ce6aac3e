"""Test that the PyTorch benchmarks perform the same computations as minichar."""

from dataclasses import replace
from math import log
from types import SimpleNamespace

import pytest
from bench_work import LAYERS, PIECE, Work

torch = pytest.importorskip("torch")

import bench_pytorch  # noqa: E402

torch.set_num_threads(1)
SMALL = Work(engine="pytorch", rnn_size=8, vocab_size=11, seq_length=4, batch_size=3)
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@pytest.mark.parametrize("model", LAYERS)
def test_model_has_the_same_weights_and_trains(model):
    torch.manual_seed(0)
    one = bench_pytorch.TorchModel(torch, replace(SMALL, model=model))
    gates = GATES[model]
    # PyTorch has two biases for every gate, but minichar only for the candidate of the GRU.
    expected = gates * 8 * (8 + 11 + 2) + gates * 8 * (8 + 8 + 2) + 11 * (8 + 1)
    assert sum(p.numel() for p in one.parameters) == expected
    first = one.loss().item()
    assert first == pytest.approx(log(11), rel=0.2)
    for _ in range(30):
        one.measure()
    assert one.loss().item() < first - 0.05


def test_large_vocabulary_uses_an_embedding():
    work = replace(SMALL, vocab_size=300)
    assert bench_pytorch.TorchModel(torch, work).embedding.weight.shape == (300, 8)
    bench_pytorch.prepare(work)()


@pytest.mark.parametrize(("kind", "trains"), [("dropout", True), ("evaluate", False)])
def test_only_training_uses_dropout_and_changes_the_weights(kind, trains):
    one = bench_pytorch.TorchModel(torch, replace(SMALL, kind=kind))
    before = one.readout.weight.detach().clone()
    one.measure()
    assert one.dropout.training == trains
    assert torch.equal(before, one.readout.weight) != trains


@pytest.mark.parametrize("model", LAYERS)
def test_sampling_cells_agree_with_the_layers(model, monkeypatch):
    drawn, multinomial = [], torch.multinomial
    monkeypatch.setattr(torch, "multinomial", lambda p, n: drawn.append(p.shape) or multinomial(p, n))
    one = bench_pytorch.TorchModel(torch, replace(SMALL, kind="sample", model=model))
    for layer, cell in enumerate(one.cells):
        for name, parameter in cell.named_parameters():
            parameter.data = getattr(one.layers, f"{name}_l{layer}").data
    one.sample()
    assert drawn == [(1, 11)] * PIECE
    states = zip(*one.states, strict=True) if model == "lstm" else [one.states]
    state = tuple(map(torch.stack, states))
    with torch.inference_mode():
        x = one.vectors(one.last)
        expected, _ = one.layers(x[None], state if model == "lstm" else state[0])
        for cell, s in zip(one.cells, one.states, strict=True):
            x = cell(x, s)
            x = x[0] if model == "lstm" else x
    torch.testing.assert_close(x, expected[0])


def test_pytorch_uses_the_same_device():
    for name, device in (("gpu", "cuda"), ("gpu:1", "cuda:1"), ("cpu", "cpu"), ("opencl:1", "cpu")):
        assert bench_pytorch.device_of(torch, replace(SMALL, device=name)) == torch.device(device)


@pytest.mark.parametrize("kind", ["train", "evaluate", "sample"])
def test_an_iteration_on_a_gpu_is_in_full_precision_and_ends_when_the_gpu_is_idle(kind, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=True))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(bench_pytorch, "device_of", lambda torch, work: torch.device("cpu"))
    unit = bench_pytorch.prepare(replace(SMALL, kind=kind, device="gpu:0"))
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    unit()
    assert calls == [torch.device("cpu"), "wait"]


@pytest.mark.parametrize(("model", "kind"), [("lstm", "train"), ("gru", "train"), ("lstm", "evaluate")])
def test_the_captured_step_computes_the_same_without_moving_the_state(model, kind):
    work = replace(SMALL, model=model, kind=kind)
    torch.manual_seed(0)
    eager = bench_pytorch.TorchModel(torch, work)
    torch.manual_seed(0)
    one = bench_pytorch.TorchModel(torch, work)
    expected = [eager.measure().item() for _ in range(5)]
    assert kind == "train" or len({*expected}) == 5, "the state is carried"
    step, logits, addresses = one.static(), one.logits, set()

    def noted(ids):
        addresses.add(tuple(s.data_ptr() for s in (one.state if model == "lstm" else (one.state,))))
        return logits(ids)

    one.logits = noted
    assert [step().item() for _ in range(4)] == expected[1:]  # the first iteration allocated the state
    assert len(addresses) == 1
