"""Tests that losses, states and gradients agree with a naive implementation and with PyTorch."""

import numpy as np
import pytest
from cells import IN_PYTORCH
from naive import STEPS, read_chunk

from minichar.engine.config import Config
from minichar.engine.gradcheck import relative_error, toy_network
from minichar.formats.state_dict import to_state_dict

T, B, V, H = 5, 2, 8, 3


@pytest.mark.parametrize(("L", "dropout", "layer_norm"), [(1, 0.4, False), (2, 0.0, True), (3, 0.4, False)])
@pytest.mark.parametrize("cell", STEPS)
def test_losses_and_states_agree_with_the_naive_implementation(cell, L, dropout, layer_norm, generator):
    config = Config(V, cell, rnn_size=H, num_layers=L, dropout=dropout, layer_norm=layer_norm)
    network = toy_network(config, T, B, generator)
    masks = network.masks if dropout else None
    state = network.state
    for _ in range(2):  # two chunks, so the state is carried over
        inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
        loss, state = read_chunk(config, network.parameters, inputs, targets, state, masks)
        assert float(network.measure(inputs, targets)) == pytest.approx(loss, rel=1e-12)
        network.carry()
        np.testing.assert_allclose(network.state, state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", IN_PYTORCH)
def test_losses_states_and_gradients_agree_with_pytorch(model, generator):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    L = 2
    network = toy_network(Config(V, model, H, L), T, B, generator)
    recurrent = getattr(torch.nn, model.upper())(V, H, L, dtype=torch.float64)
    modules = torch.nn.ModuleDict({"rnn": recurrent, "decoder": torch.nn.Linear(H, V, dtype=torch.float64)})
    weights = to_state_dict(network.config, dict(network.parameters.items()), None)
    modules.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    states = [torch.from_numpy(state) for state in network.state.transpose(1, 0, 3, 2).copy()]  # (L, B, H)

    for _ in range(2):  # two chunks, so the state is carried over
        inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
        loss = float(network.loss_and_gradient(inputs, targets))
        network.carry()

        onehot = torch.nn.functional.one_hot(torch.from_numpy(inputs), V).to(torch.float64)  # (T, B, V)
        h, end = recurrent(onehot, tuple(states) if model == "lstm" else states[0])  # (T, B, H)
        logits = modules["decoder"](h).reshape(T * B, V)
        their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).reshape(-1))
        modules.zero_grad()
        their_loss.backward()
        states = [state.detach() for state in (end if model == "lstm" else [end])]

        assert loss == pytest.approx(their_loss.item(), rel=1e-12)
        for number, state in enumerate(states):
            ours = network.state[:, number].transpose(0, 2, 1)
            np.testing.assert_allclose(ours, state.numpy(), rtol=1e-9, atol=1e-12)
        gradients = to_state_dict(network.config, dict(network.gradient.items()), None)
        for name, parameter in modules.named_parameters():
            if model == "gru" or "bias_hh" not in name:  # the other cells have one bias in minichar
                assert relative_error(gradients[name], parameter.grad.numpy()) < 1e-9, name
