"""Naive reference implementation of the network that computes one scalar at a time.

It shares only the parameter names and layout with the engine. The inputs are one-hot vectors,
each gate has separate matrices, and every matrix product is a loop. The code is slow but easy to
check against the equations.
"""

from dataclasses import dataclass
from math import exp, log, tanh


def sigmoid(a):
    return 1 / (1 + exp(-a))


@dataclass
class Gate:
    """The weights of one gate, with H rows and one column per hidden unit or input."""

    recurrent: list
    input: list
    recurrent_bias: list
    input_bias: list

    def from_state(self, j, h):
        """Return the hidden state's contribution to the pre-activation of unit j."""
        total = self.recurrent_bias[j]
        for k in range(len(h)):
            total += self.recurrent[j][k] * h[k]
        return total

    def from_input(self, j, x):
        """Return the input's contribution to the pre-activation of unit j."""
        total = self.input_bias[j]
        for k in range(len(x)):
            total += self.input[j][k] * x[k]
        return total

    def from_both(self, j, h, x):
        return self.from_state(j, h) + self.from_input(j, x)


def gate_of(parameters, layer, H, number, matrix="W", row=None):
    """Extract the weights of one gate from the engine's parameters.

    `number` is the gate's index in ``Wx``, and also in `matrix` unless `row` is given.
    """
    there = slice(number * H, (number + 1) * H)
    here = there if row is None else slice(row * H, (row + 1) * H)
    names = dict(parameters.items())
    W = names[f"layer{layer}.{matrix}"][here].tolist()
    if f"layer{layer}.U" in names:
        # The state and the input have separate matrices and biases.
        U = names[f"layer{layer}.U"][here].tolist()
        recurrent, recurrent_bias = [u[:H] for u in U], [u[H] for u in U]
        inputs = [w[:-1] for w in W]
    else:
        # The state and the input share a matrix and a bias.
        recurrent, recurrent_bias = [w[:H] for w in W], [0.0] * H
        inputs = [w[H:-1] for w in W]
    if layer == 1:
        inputs = names["layer1.Wx"][there].tolist()
    return Gate(recurrent, inputs, recurrent_bias, [w[-1] for w in W])


def rnn_step(parameters, layer, states, x):
    (h_prev,) = states
    H = len(h_prev)
    gate = gate_of(parameters, layer, H, 0)
    return [[tanh(gate.from_both(j, h_prev, x)) for j in range(H)]]


def lstm_step(parameters, layer, states, x):
    h_prev, c_prev = states
    H = len(h_prev)
    input_, forget, output, candidate = (gate_of(parameters, layer, H, number) for number in range(4))
    h, c = [], []
    for j in range(H):
        i = sigmoid(input_.from_both(j, h_prev, x))
        f = sigmoid(forget.from_both(j, h_prev, x))
        o = sigmoid(output.from_both(j, h_prev, x))
        g = tanh(candidate.from_both(j, h_prev, x))
        c.append(f * c_prev[j] + i * g)
        h.append(o * tanh(c[j]))
    return [h, c]


def gru_after_step(parameters, layer, states, x):
    (h_prev,) = states
    H = len(h_prev)
    reset, update, candidate = (gate_of(parameters, layer, H, number) for number in range(3))
    h = []
    for j in range(H):
        r = sigmoid(reset.from_both(j, h_prev, x))
        z = sigmoid(update.from_both(j, h_prev, x))
        n = tanh(candidate.from_input(j, x) + r * candidate.from_state(j, h_prev))
        h.append((1 - z) * n + z * h_prev[j])
    return [h]


def gru_before_step(parameters, layer, states, x):
    (h_prev,) = states
    H = len(h_prev)
    reset, update = (gate_of(parameters, layer, H, number) for number in range(2))
    candidate = gate_of(parameters, layer, H, 2, matrix="Wn", row=0)
    r = [sigmoid(reset.from_both(j, h_prev, x)) for j in range(H)]
    z = [sigmoid(update.from_both(j, h_prev, x)) for j in range(H)]
    kept = [r[j] * h_prev[j] for j in range(H)]
    n = [tanh(candidate.from_both(j, kept, x)) for j in range(H)]
    return [[(1 - z[j]) * n[j] + z[j] * h_prev[j] for j in range(H)]]


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_after_step, "gru-reset-before": gru_before_step}


def one_sequence(config, parameters, inputs, targets, states, masks):
    """Run the network over one sequence.

    Parameters
    ----------
    inputs, targets : list of int, length T
    states : list of list of list
        The states of each layer, each a list of H numbers. Updated in place.
    masks : list or None
        For each layer, T lists of H numbers.

    Returns
    -------
    Sum of -log p[target] over the sequence, in nats.
    """
    step, V = STEPS[config.cell.name], config.vocab_size
    readout = parameters["readout.W"].tolist()
    total = 0.0
    for t in range(len(inputs)):
        x = [0.0] * V
        x[inputs[t]] = 1.0
        for layer in range(config.num_layers):
            states[layer] = step(parameters, layer + 1, states[layer], x)
            h = states[layer][0]
            x = list(h) if masks is None else [masks[layer][t][j] * h[j] for j in range(len(h))]
        logits = []
        for row in readout:
            logit = row[-1]
            for j in range(len(x)):
                logit += row[j] * x[j]
            logits.append(logit)
        total -= log(exp(logits[targets[t]]) / sum(exp(logit) for logit in logits))
    return total


def read_chunk(config, parameters, inputs, targets, state, masks=None):
    """Run the network over a chunk and return ``(loss, state)``: the mean loss in nats, and the final state.

    Parameters
    ----------
    config : Config
    parameters : Parameters
    inputs, targets : array of int, (T, B)
    state : array, ``config.state_shape(B)``
        Not modified.
    masks : list of array, each (T, H, B), optional
        Dropout masks, one per layer.
    """
    T, B = inputs.shape
    after = state.copy()
    total = 0.0
    for b in range(B):
        states = state[..., b].tolist()
        masks_b = None if masks is None else [mask[..., b].tolist() for mask in masks]
        total += one_sequence(
            config, parameters, inputs[:, b].tolist(), targets[:, b].tolist(), states, masks_b
        )
        after[..., b] = states
    return total / (T * B), after
