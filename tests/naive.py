"""Naive reference implementation of the network, which computes one scalar at a time.

It shares only the names and the layout of the parameters with the engine. The inputs are one-hot vectors, and
every matrix product is a loop. The code is slow but easy to check against the equations.
"""

from math import exp, log, sqrt, tanh


def sigmoid(a):
    return 1 / (1 + exp(-a))


def product(rows, values):
    totals = []
    for row in rows:
        total = 0.0
        for k in range(len(values)):
            total += row[k] * values[k]
        totals.append(total)
    return totals


def add(a, b):
    return [p + q for p, q in zip(a, b, strict=True)]


def normalised(a):
    """Return the values shifted and scaled to mean 0 and variance 1."""
    mean = sum(a) / len(a)
    variance = sum((a_j - mean) ** 2 for a_j in a) / len(a)
    return [(a_j - mean) / sqrt(variance + 1e-5) for a_j in a]


class Layer:
    """The weights of one layer."""

    def __init__(self, config, parameters, number):
        self.H, self.layer_norm, prefix = config.rnn_size, config.layer_norm, f"layer{number}."
        arrays = ((name.removeprefix(prefix), array) for name, array in parameters.items() if prefix in name)
        self.arrays = {name: array.tolist() for name, array in arrays}

    def gate(self, name, number):
        """Return the rows of a gate in a matrix, one per hidden unit."""
        return self.arrays[name][number * self.H : (number + 1) * self.H]

    def __call__(self, name, number, s, x=None, in_Wx=None):
        """Return ``W @ [s; x; 1]`` for the units of a gate, normalised if the network has this option.

        In the first layer, the weights of x are in ``Wx``, where the gate has the number `in_Wx`, by default
        `number`. If x is None, the matrix does not use it.
        """
        if x is None or "Wx" not in self.arrays:
            a = product(self.gate(name, number), [*s, *(x or ()), 1.0])
        else:
            in_Wx = number if in_Wx is None else in_Wx
            a = add(product(self.gate(name, number), [*s, 1.0]), product(self.gate("Wx", in_Wx), x))
        return normalised(a) if self.layer_norm else a


def rnn_step(layer, states, x):
    (h_prev,) = states
    return [[tanh(a) for a in layer("W", 0, h_prev, x)]]


def lstm_step(layer, states, x):
    h_prev, c_prev = states
    a_i, a_f, a_o, a_g = (layer("W", number, h_prev, x) for number in range(4))
    h, c = [], []
    for j in range(len(h_prev)):
        i, f, o, g = sigmoid(a_i[j]), sigmoid(a_f[j]), sigmoid(a_o[j]), tanh(a_g[j])
        c.append(f * c_prev[j] + i * g)
        h.append(o * tanh(c[j]))
    return [h, c]


def gru_after_step(layer, states, x):
    (h_prev,) = states
    (u_r, a_r), (u_z, a_z), (u_n, a_n) = ((layer("U", k, h_prev), layer("W", k, [], x)) for k in range(3))
    h = []
    for j in range(len(h_prev)):
        r, z = sigmoid(a_r[j] + u_r[j]), sigmoid(a_z[j] + u_z[j])
        n = tanh(a_n[j] + r * u_n[j])
        h.append((1 - z) * n + z * h_prev[j])
    return [h]


def gru_before_step(layer, states, x):
    (h_prev,) = states
    r, z = ([sigmoid(a) for a in layer("W", number, h_prev, x)] for number in range(2))
    rh = [r_j * h_j for r_j, h_j in zip(r, h_prev, strict=True)]
    n = [tanh(a) for a in layer("Wn", 0, rh, x, in_Wx=2)]
    return [[(1 - z[j]) * n[j] + z[j] * h_prev[j] for j in range(len(h_prev))]]


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_after_step, "gru-reset-before": gru_before_step}


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
    step, readout = STEPS[config.cell.name], parameters["readout.W"].tolist()
    layers = [Layer(config, parameters, number + 1) for number in range(config.num_layers)]
    T, B = inputs.shape
    after, total = state.copy(), 0.0
    for b in range(B):
        states = state[..., b].tolist()
        for t in range(T):
            x = [float(k == inputs[t, b]) for k in range(config.vocab_size)]
            for number, layer in enumerate(layers):
                states[number] = step(layer, states[number], x)
                x = list(states[number][0])
                if masks is not None:
                    x = [masks[number][t, j, b] * x[j] for j in range(len(x))]
            logits = product(readout, [*x, 1.0])
            total -= log(exp(logits[targets[t, b]]) / sum(exp(logit) for logit in logits))
        after[..., b] = states
    return total / (T * B), after
