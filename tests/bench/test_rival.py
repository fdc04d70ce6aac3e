"""The rival must do the same work, or the comparison is worth nothing."""

from math import log

import pytest

from minichar.bench.work import PIECE, Work

torch = pytest.importorskip("torch")

from minichar.bench import rival  # noqa: E402

SMALL = Work(engine="pytorch", rnn_size=8, vocab_size=11, seq_length=4, batch_size=3)


def parameters(work):
    return sum(p.numel() for p in rival.Rival(torch, work).parameters)


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_it_has_as_many_weights_and_learns(model):
    torch.manual_seed(0)
    work = Work(**SMALL.describe() | {"model": model})
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[model]
    # Our size, and the second bias that PyTorch gives each gate but that only a GRU's candidate needs.
    ours = gates * 8 * (8 + 11 + 2) + gates * 8 * (8 + 8 + 2) + 11 * (8 + 1)
    assert parameters(work) == ours
    one = rival.Rival(torch, work)
    first = one.loss().item()
    assert first == pytest.approx(log(11), rel=0.2)
    for _ in range(60):
        one.learn()
    assert one.loss().item() < first - 0.1


def test_a_large_vocabulary_comes_in_by_an_embedding():
    work = Work(**SMALL.describe() | {"vocab_size": 300})
    assert rival.Rival(torch, work).embedding.weight.shape == (300, 8)
    rival.prepare(work)()


def test_it_carries_its_state_and_drops_only_in_training():
    one = rival.Rival(torch, Work(**SMALL.describe() | {"kind": "evaluate"}))
    one.evaluate()
    before = one.state[0]
    one.evaluate()
    assert not torch.equal(before, one.state[0])
    assert rival.Rival(torch, Work(**SMALL.describe() | {"kind": "dropout"})).dropout.training


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_it_writes_as_many_characters(model, monkeypatch):
    drawn = []
    multinomial = torch.multinomial
    monkeypatch.setattr(torch, "multinomial", lambda p, n: drawn.append(p.shape) or multinomial(p, n))
    rival.prepare(Work(**SMALL.describe() | {"kind": "sample", "model": model}))()
    assert drawn == [(1, 11)] * PIECE


def test_its_cells_do_what_its_layers_do():
    one = rival.Rival(torch, Work(**SMALL.describe() | {"kind": "sample"}))
    for layer, cell in enumerate(one.cells):
        for name, parameter in cell.named_parameters():
            parameter.data = getattr(one.layers, f"{name}_l{layer}").data
    one.sample()
    h = one.states[-1][0].clone()
    last = one.last.clone()
    one.layers.eval()
    state = tuple(torch.stack([s[k] for s in one.states]) for k in range(2))
    with torch.inference_mode():
        above, _ = one.layers(one.vectors(last)[None], state)
        x = one.vectors(last)
        for cell, s in zip(one.cells, one.states, strict=True):
            x, _ = cell(x, s)
    assert h.shape == x.shape
    torch.testing.assert_close(above[0], x)
