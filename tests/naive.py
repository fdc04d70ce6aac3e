"""Naive reference implementation of the network, which computes one scalar at a time.

It shares only the names and the layout of the parameters with the engine. The inputs are one-hot vectors,
each gate has separate matrices, and every matrix product is a loop. The code is slow but easy to check
against the equations.
"""

from dataclasses import dataclass
from math import exp, log, sqrt, tanh


def sigmoid(a):
    return 1 / (1 + exp(-a))


def normalised(a):
    """Return the values shifted and scaled to mean 0 and variance 1."""
    mean = sum(a) / len(a)
    variance = sum((a_j - mean) ** 2 for a_j in a) / len(a)
    return [(a_j - mean) / sqrt(variance + 1e-5) for a_j in a]


@dataclass
class Gate:
    """The weights of one gate, with H rows and one column per hidden unit or input.

    With layer normalisation, the sum of the state's and the input's contributions is normalised. If their
    matrices are `separate`, each contribution is normalised on its own.
    """

    recurrent: list
    input: list
    recurrent_bias: list
    input_bias: list
    separate: bool
    layer_norm: bool

    def after_product(self, a):
        return normalised(a) if self.layer_norm else a

    def from_state(self, h):
        """Return the hidden state's contribution to the pre-activation of each unit."""
        a = self.products(self.recurrent, self.recurrent_bias, h)
        return self.after_product(a) if self.separate else a

    def from_input(self, x):
        """Return the input's contribution to the pre-activation of each unit."""
        a = self.products(self.input, self.input_bias, x)
        return self.after_product(a) if self.separate else a

    def from_both(self, h, x):
        a = [s + i for s, i in zip(self.from_state(h), self.from_input(x), strict=True)]
        return a if self.separate else self.after_product(a)

    @staticmethod
    def products(matrix, bias, values):
        totals = []
        for row, total in zip(matrix, bias, strict=True):
            for k in range(len(values)):
                total += row[k] * values[k]
            totals.append(total)
        return totals


class Weights:
    """The weights of one layer. Calling an instance returns a `Gate`."""

    def __init__(self, config, parameters, layer):
        self.names, self.layer, self.H = dict(parameters.items()), layer, config.rnn_size
        self.layer_norm = config.layer_norm

    def __call__(self, number, matrix="W", row=None):
        """Return the gate with index `number` in ``Wx`` and `row` (by default, `number`) in `matrix`."""
        names, layer, H = self.names, self.layer, self.H
        there = slice(number * H, (number + 1) * H)
        here = there if row is None else slice(row * H, (row + 1) * H)
        W = names[f"layer{layer}.{matrix}"][here].tolist()
        separate = f"layer{layer}.U" in names
        if separate:
            U = names[f"layer{layer}.U"][here].tolist()
            recurrent, recurrent_bias = [u[:H] for u in U], [u[H] for u in U]
            inputs = [w[:-1] for w in W]
        else:
            recurrent, recurrent_bias = [w[:H] for w in W], [0.0] * H
            inputs = [w[H:-1] for w in W]
        if layer == 1:
            inputs = names["layer1.Wx"][there].tolist()
        input_bias = [w[-1] for w in W]
        return Gate(recurrent, inputs, recurrent_bias, input_bias, separate, self.layer_norm)


def rnn_step(gate, states, x):
    (h_prev,) = states
    return [[tanh(a) for a in gate(0).from_both(h_prev, x)]]


def lstm_step(gate, states, x):
    h_prev, c_prev = states
    a_i, a_f, a_o, a_g = (gate(number).from_both(h_prev, x) for number in range(4))
    h, c = [], []
    for j in range(len(h_prev)):
        i, f, o, g = sigmoid(a_i[j]), sigmoid(a_f[j]), sigmoid(a_o[j]), tanh(a_g[j])
        c.append(f * c_prev[j] + i * g)
        h.append(o * tanh(c[j]))
    return [h, c]


def gru_after_step(gate, states, x):
    (h_prev,) = states
    a_r, a_z = (gate(number).from_both(h_prev, x) for number in range(2))
    u_n, a_n = gate(2).from_state(h_prev), gate(2).from_input(x)
    h = []
    for j in range(len(h_prev)):
        r, z = sigmoid(a_r[j]), sigmoid(a_z[j])
        n = tanh(a_n[j] + r * u_n[j])
        h.append((1 - z) * n + z * h_prev[j])
    return [h]


def gru_before_step(gate, states, x):
    (h_prev,) = states
    r, z = ([sigmoid(a) for a in gate(number).from_both(h_prev, x)] for number in range(2))
    kept = [r_j * h_j for r_j, h_j in zip(r, h_prev, strict=True)]
    n = [tanh(a) for a in gate(2, matrix="Wn", row=0).from_both(kept, x)]
    return [[(1 - z[j]) * n[j] + z[j] * h_prev[j] for j in range(len(h_prev))]]


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
            states[layer] = step(Weights(config, parameters, layer + 1), states[layer], x)
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
