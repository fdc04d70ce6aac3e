"""Tests that minichar and PyTorch give the same loss and gradients for the same weights."""

import numpy as np
import pytest
from cells import IN_PYTORCH

from minichar.engine.config import Config
from minichar.engine.gradcheck import relative_error, toy_network
from minichar.formats.state_dict import to_state_dict

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

T, B, V, H, L = 5, 2, 8, 3, 2
CLASSES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


@pytest.mark.parametrize("model", IN_PYTORCH)
def test_loss_state_and_gradients_agree_with_pytorch(model, generator):
    network = toy_network(Config(V, model, H, L), T, B, generator)
    recurrent = CLASSES[model](V, H, L, dtype=torch.float64)
    modules = torch.nn.ModuleDict({"rnn": recurrent, "decoder": torch.nn.Linear(H, V, dtype=torch.float64)})
    weights = to_state_dict(network.config, dict(network.parameters.items()), None)
    modules.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    states = [torch.from_numpy(state) for state in network.state.transpose(1, 0, 3, 2).copy()]  # (L, B, H)

    for _ in range(2):  # two chunks, so the state is carried over
        inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
        loss = float(network.learn(inputs, targets))
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
