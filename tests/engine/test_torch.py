"""Tests that minichar and PyTorch give the same loss and gradients for the same weights."""

import numpy as np
import pytest
from cells import IN_PYTORCH

from minichar.engine.config import Config
from minichar.engine.feed import teacher_forcing
from minichar.engine.gradcheck import relative_error, toy_network

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

T, B, V, H = 5, 2, 8, 3

# For each block of H rows in PyTorch, the index of the same block in minichar.
BLOCKS = {
    "rnn": (0,),
    "lstm": (0, 1, 3, 2),  # minichar uses the order i, f, o, g, and PyTorch uses i, f, g, o
    "gru": (0, 1, 2),  # both use the order r, z, n and h = (1 - z) ∘ n + z ∘ h_prev
}


def rows_of(model):
    """Return the row indices that put minichar's rows in PyTorch's order."""
    return np.concatenate([np.arange(block * H, (block + 1) * H) for block in BLOCKS[model]])


def split(names, layer, model):
    """Split a layer's arrays into PyTorch's input and recurrent weights and their biases."""
    W, rows = names[f"layer{layer}.W"], rows_of(model)
    if model == "gru":
        U = names[f"layer{layer}.U"]
        parts = {"weight_ih": W[:, :-1], "weight_hh": U[:, :-1], "bias_ih": W[:, -1], "bias_hh": U[:, -1]}
    else:
        # minichar has one bias, so PyTorch's second bias is zero. Both biases have the same gradient.
        zero = np.zeros(len(W))
        parts = {"weight_ih": W[:, H:-1], "weight_hh": W[:, :H], "bias_ih": W[:, -1], "bias_hh": zero}
    if layer == 1:
        parts["weight_ih"] = names["layer1.Wx"]
    return {f"{name}_l{layer - 1}": part[rows] for name, part in parts.items()}


def torch_modules(network):
    """Return PyTorch's ``(recurrent, readout)`` layers with the weights of `network`."""
    config = network.config
    cls = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config.model]
    recurrent = cls(V, H, config.num_layers, dtype=torch.float64)
    readout = torch.nn.Linear(H, V, dtype=torch.float64)
    names = dict(network.parameters.items())
    with torch.no_grad():
        for layer in range(1, config.num_layers + 1):
            for name, part in split(names, layer, config.model).items():
                getattr(recurrent, name).copy_(torch.from_numpy(part.copy()))
        readout.weight.copy_(torch.from_numpy(names["readout.W"][:, :-1].copy()))
        readout.bias.copy_(torch.from_numpy(names["readout.W"][:, -1].copy()))
    return recurrent, readout


@pytest.mark.parametrize("model", IN_PYTORCH)
def test_loss_state_and_gradients_agree_with_pytorch(model, generator):
    L = 2
    network = toy_network(Config(V, model, H, L), T, B, generator)
    recurrent, readout = torch_modules(network)
    states = [torch.from_numpy(state) for state in network.state.transpose(1, 0, 3, 2).copy()]  # (L, B, H)

    for _ in range(2):  # two chunks, so the state is carried over
        inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
        loss = float(network.learn(teacher_forcing(inputs), targets))
        network.carry()

        onehot = torch.nn.functional.one_hot(torch.from_numpy(inputs), V).to(torch.float64)  # (T, B, V)
        start = tuple(states) if model == "lstm" else states[0]
        h, end = recurrent(onehot, start)  # (T, B, H)
        logits = readout(h).reshape(T * B, V)
        their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).reshape(-1))
        recurrent.zero_grad()
        readout.zero_grad()
        their_loss.backward()
        states = [state.detach() for state in (end if model == "lstm" else [end])]

        assert loss == pytest.approx(their_loss.item(), rel=1e-12)
        for number, state in enumerate(states):
            np.testing.assert_allclose(
                network.state[:, number], state.numpy().transpose(0, 2, 1), rtol=1e-9, atol=1e-12
            )
        gradients = dict(network.gradient.items())
        for layer in range(1, L + 1):
            for name, g in split(gradients, layer, model).items():
                theirs = getattr(recurrent, name).grad.numpy()
                if model != "gru" and name.startswith("bias_hh"):
                    continue  # minichar has no second bias
                assert relative_error(g, theirs) < 1e-9, name
        assert relative_error(gradients["readout.W"][:, :-1], readout.weight.grad.numpy()) < 1e-9
        assert relative_error(gradients["readout.W"][:, -1], readout.bias.grad.numpy()) < 1e-9
