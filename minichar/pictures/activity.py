"""Record the activations of a network as it processes text."""

from dataclasses import dataclass

import numpy as np

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import NOT_FINITE

CHUNK = 100
"""Number of characters per chunk; does not affect the result."""
ALTERNATIVES = 5
UNITS = {"lstm": "tanh_c"}
"""For each cell, the state or cached array that is shown, with values in [-1, 1]; by default, h."""
SHOWN = {"rnn": "h", "lstm": "ifo", "gru": "rz", "gru-reset-before": "rz"}
"""For each cell, the gates in [0, 1] plotted as histograms; by default, the value in `UNITS` is plotted.
Add the gates of your own cell here."""
BINS = 20


@dataclass(frozen=True)
class Gate:
    """The distribution of one gate in one layer, over all units and characters."""

    layer: int  # from 1
    name: str
    low: float  # the lowest possible value; the highest is 1
    shares: np.ndarray  # (BINS,), the fraction of values in each of `BINS` equal-width bins


@dataclass(frozen=True)
class Activity:
    """The activations of a network as it processes N characters, starting from a zero state."""

    states: np.ndarray  # (L, H, N), hidden-unit activations between -1 and 1
    surprise: np.ndarray  # (N,), surprisal in nats; NaN for the first character, which is not predicted
    likeliest: np.ndarray  # (N, up to 5), ids in order of decreasing probability; undefined at the start
    probability: np.ndarray  # (N, up to 5), the probabilities of the ids in `likeliest`
    gates: list[Gate]


def read_activity(model: CharRNN, ids: np.ndarray) -> Activity:
    """Run a model on encoded text ``(N,)``, N ≥ 1, and record its activations.

    If the logits are not finite because the weights are corrupted, this raises a `MinicharError`.
    """
    config, N, k = model.config, len(ids), min(ALTERNATIVES, model.config.vocab_size)
    to_device, to_host = model.parameters.backend.to_device, model.parameters.backend.to_host
    network, resets = model.network(CHUNK, 1), model.resets(ids)
    unit = UNITS.get(config.model, "h")
    names = list(SHOWN.get(config.model, [unit]))  # the G gates
    low = -1.0 if names == [unit] else 0.0
    counts = np.zeros((config.num_layers, len(names), BINS))  # (L, G, BINS)
    states = np.zeros((config.num_layers, config.rnn_size, N))  # (L, H, N)
    surprise = np.full(N, np.nan)  # (N,)
    likeliest = np.zeros((N, k), dtype=np.intp)  # (N, k)
    probability = np.zeros((N, k))  # (N, k)

    for start in range(0, N, CHUNK):
        chunk = ids[start : start + CHUNK, None].astype(np.intp)  # (n, 1)
        n = len(chunk)
        network.set_state_mask(resets.state_mask(start, n) if resets else None)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = to_host(network.forward(to_device(chunk), n))[:, :, 0]  # (n, V)
        if not np.isfinite(logits).all():
            raise MinicharError(NOT_FINITE)
        for layer, state, histograms in zip(network.layers, states, counts, strict=True):
            steps = [layer.values(t) for t in range(n)]
            values = {
                name: np.stack([to_host(step[name])[:, 0] for step in steps], axis=1) for name in steps[0]
            }  # (H, n)
            state[:, start : start + n] = values[unit]
            for name, histogram in zip(names, histograms, strict=True):
                if name not in values:
                    known = ", ".join(sorted(values))
                    raise MinicharError(f"the cell has no {name!r} to show; it has {known}")
                histogram += np.histogram(values[name], BINS, (low, 1.0))[0]

        # The logits after each character predict the next character.
        log_p = log_softmax(logits.astype("float64"))  # (n, V)
        following = ids[start + 1 : start + 1 + n].astype(np.intp)  # (n,), or (n - 1,) in the last chunk
        log_p = log_p[: len(following)]
        there = slice(start + 1, start + 1 + len(following))
        surprise[there] = -np.take_along_axis(log_p, following[:, None], axis=1)[:, 0]
        likeliest[there] = np.argsort(-log_p, axis=1, kind="stable")[:, :k]
        probability[there] = np.exp(np.take_along_axis(log_p, likeliest[there], axis=1))
        network.carry()
    counts /= counts.sum(axis=2, keepdims=True)
    gates = [
        Gate(i, name, low, shares)
        for i, layer in enumerate(counts, start=1)
        for name, shares in zip(names, layer, strict=True)
    ]
    return Activity(states, surprise, likeliest, probability, gates)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the log-softmax of each row of logits ``(n, V)``."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # (n, V)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
