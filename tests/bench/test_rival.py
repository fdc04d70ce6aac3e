"""Test that the PyTorch benchmarks perform the same computations as minichar."""

from dataclasses import replace
from math import log

import pytest

from minichar.bench.work import PIECE, Work
from minichar.engine.cells import CELLS
from minichar.errors import MinicharError

torch = pytest.importorskip("torch")

from minichar.bench import rival  # noqa: E402

torch.set_num_threads(1)
SMALL = Work(engine="pytorch", rnn_size=8, vocab_size=11, seq_length=4, batch_size=3, threads=1)
COMPARABLE = {name: cell for name, cell in CELLS.items() if cell.torch is not None and not cell.variant}


@pytest.mark.parametrize("model", COMPARABLE)
def test_model_has_the_same_weights_and_trains(model):
    torch.manual_seed(0)
    work = replace(SMALL, model=model)
    one = rival.TorchModel(torch, work)
    gates = len(COMPARABLE[model].torch.gates)
    # PyTorch has two biases per gate; minichar has two only for the GRU candidate.
    expected = gates * 8 * (8 + 11 + 2) + gates * 8 * (8 + 8 + 2) + 11 * (8 + 1)
    assert sum(p.numel() for p in one.parameters) == expected
    first = one.loss().item()
    assert first == pytest.approx(log(11), rel=0.2)
    for _ in range(60):
        one.train()
    assert one.loss().item() < first - 0.1


def test_error_for_a_cell_without_counterpart_is_one_line():
    with pytest.raises(MinicharError, match=r"^GRU \(.*\) has no PyTorch counterpart to compare with$"):
        rival.prepare(replace(SMALL, model="gru", gru_reset="before"))


def test_large_vocabulary_uses_an_embedding():
    work = replace(SMALL, vocab_size=300)
    assert rival.TorchModel(torch, work).embedding.weight.shape == (300, 8)
    rival.prepare(work)()


def test_state_is_carried_and_dropout_used_only_in_training():
    one = rival.TorchModel(torch, replace(SMALL, kind="evaluate"))
    one.evaluate()
    before = one.state[0]
    one.evaluate()
    assert not torch.equal(before, one.state[0])
    assert not one.dropout.training
    assert rival.TorchModel(torch, replace(SMALL, kind="dropout")).dropout.training


@pytest.mark.parametrize("model", COMPARABLE)
def test_number_of_sampled_characters(model, monkeypatch):
    drawn = []
    multinomial = torch.multinomial
    monkeypatch.setattr(torch, "multinomial", lambda p, n: drawn.append(p.shape) or multinomial(p, n))
    rival.prepare(replace(SMALL, kind="sample", model=model))()
    assert drawn == [(1, 11)] * PIECE


def test_sampling_cells_agree_with_the_layers():
    one = rival.TorchModel(torch, replace(SMALL, kind="sample"))
    for layer, cell in enumerate(one.cells):
        for name, parameter in cell.named_parameters():
            parameter.data = getattr(one.layers, f"{name}_l{layer}").data
    one.sample()
    state = tuple(torch.stack([s[k] for s in one.states]) for k in range(2))
    with torch.inference_mode():
        expected, _ = one.layers(one.vectors(one.last)[None], state)
        h = one.vectors(one.last)
        for cell, s in zip(one.cells, one.states, strict=True):
            h, _ = cell(h, s)
    torch.testing.assert_close(h, expected[0])
