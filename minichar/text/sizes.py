"""Choose option values based on the length of the text and the number of distinct characters."""

from collections.abc import Callable

LARGEST_B, SMALLEST_B = 50, 4
USUAL_T, SHORTEST_T = 50, 25
CHUNKS = 100
"""Desired minimum number of chunks in a text, so that an epoch has enough steps. B is reduced to reach
this number, but not below `SMALLEST_B`."""
ALLOWED, MOST = 0.01, 0.02
"""T is reduced if more than `ALLOWED` of the text would otherwise be left out of the chunks. If B is
`SMALLEST_B` and more than `MOST` would still be left out, a few larger values of B are tried too."""

SHORT, DROPOUT = 100_000, 0.5
"""Models quickly overfit short texts, so dropout is `DROPOUT` for texts of up to `SHORT` characters."""
WEIGHT_DECAY, RARE_WEIGHT_DECAY = 0.2, 0.4
"""Weight decay for short texts. `RARE_WEIGHT_DECAY` is used if many characters are rare."""
SMALL_H, LARGE_H, RARE_H = 128, 256, 384
"""Hidden units per layer. With dropout, larger models have lower losses on short texts, so `LARGE_H` is used,
or `RARE_H` if many characters are rare."""
WARMUP, GATED = 0.1, ("lstm", "gru")
"""Fraction of a run spent on warm-up. The cells in `GATED` do better on short texts without warm-up."""
RATE, RATES = 8e-3, {"lstm": 2e-2, "rnn": 5e-3}
"""Learning rates. `RATES` are for small models without layer normalisation, trained on long texts."""
LARGE_V, D = 256, 64
"""Vocabularies of more than `LARGE_V` characters use embeddings of size `D`, unless tied. On short texts with
that many distinct characters (`has_rare_characters`), a GRU with layer normalisation has a lower loss than an
LSTM."""

MANY, PATIENCE = 5_000_000, 10
"""For texts of up to `MANY` characters, a run ends after `PATIENCE` evaluations without improvement. By
default, a run on a longer text takes at most two epochs, so it does not need to end early."""

STEPS, SHORT_STEPS = 2500, 5000
"""Default number of training steps. `SHORT_STEPS` is for short texts: dropout and weight decay slow down
learning but prevent overfitting, so more epochs help."""
STEPS_PER_VAL_CHUNK = 8
"""Number of training steps between evaluations, per validation chunk.

Evaluating a validation chunk and a training chunk takes about as long as 0.8 training steps, so evaluations
that are at least this many steps apart take at most a tenth of the training time.
"""


def has_rare_characters(N: int, V: int) -> bool:
    """Return whether many characters are rare: the text is short, but has many distinct characters.

    Parameters
    ----------
    N, V : int
        Length of the text and number of distinct characters.
    """
    return N <= SHORT and V > LARGE_V


def choose_dropout(N: int) -> float:
    """Return the dropout probability for `N` characters."""
    return DROPOUT if N <= SHORT else 0.0


def choose_rnn_size(N: int, dropout: float, rare: bool) -> int:
    """Return the number of hidden units per layer.

    Parameters
    ----------
    N : int
        Length of the text.
    dropout : float
        Dropout probability.
    rare : bool
        Whether many characters are rare (`has_rare_characters`).
    """
    if N > SHORT or not dropout:
        return SMALL_H
    return RARE_H if rare else LARGE_H


def choose_steps(N: int) -> int:
    """Return the number of training steps for `N` characters."""
    return SHORT_STEPS if N <= SHORT else STEPS


def choose_weight_decay(N: int, rare: bool, from_scratch: bool) -> float:
    """Return the weight decay for `N` characters, many of which are rare if `rare` is True.

    Fine-tuning (`from_scratch` is False) uses no weight decay, which would also shrink the original weights.
    """
    if N > SHORT or not from_scratch:
        return 0.0
    return RARE_WEIGHT_DECAY if rare else WEIGHT_DECAY


def choose_warmup(N: int, model: str, from_scratch: bool) -> float:
    """Return the fraction of a run to spend on warm-up, for a text of `N` characters and a cell.

    Fine-tuning (`from_scratch` is False) always uses warm-up.
    """
    return 0.0 if N <= SHORT and model in GATED and from_scratch else WARMUP


def choose_patience(N: int) -> int:
    """Return the number of evaluations without improvement that end a run; 0 for no limit."""
    return PATIENCE if N <= MANY else 0


def choose_learning_rate(N: int, B: int, model: str, plain: bool) -> float:
    """Return the learning rate for `N` characters, batch size `B` and a cell.

    `plain` is True for models to which `RATES` applies. Even for these models, `RATE` is used if the text is
    short or B is small.
    """
    return RATES.get(model, RATE) if plain and N > SHORT and B >= LARGEST_B else RATE


def choose_tied(N: int) -> bool:
    """Return whether to use the readout's weights as the embedding, for `N` characters."""
    return N <= SHORT


def choose_embedding(V: int, H: int, tied: bool) -> int:
    """Return the size of the embedding for a vocabulary of V characters; 0 for one-hot inputs.

    A tied embedding has the size of the hidden state, H.
    """
    return H if tied else D if V > LARGE_V else 0


def choose_max_val_chunks(steps: int) -> int:
    """Return the maximum number of validation chunks, given an evaluation every `steps` training steps."""
    return max(1, steps // STEPS_PER_VAL_CHUNK)


def choose_sizes(N: int, B: int, T: int, left_out: Callable[[int, int], int]) -> tuple[int, int]:
    """Return the batch size and the sequence length for `N` characters.

    Parameters
    ----------
    N : int
    B, T : int
        The requested values, or 0 to choose automatically. Nonzero values are returned unchanged.
    left_out : callable
        ``left_out(B, T)`` returns the number of characters that are not in any chunk.
    """
    lengths = [T] if T else range(USUAL_T, SHORTEST_T - 1, -1)

    def fit(B: int) -> tuple[int, int]:
        enough = (T for T in lengths if left_out(B, T) <= ALLOWED * N)
        return B, next(enough, None) or min(lengths, key=lambda T: left_out(B, T))

    sizes = fit(B or min(max(N // (CHUNKS * (T or USUAL_T)), SMALLEST_B), LARGEST_B))
    # A longer text has a larger B, which matters more than the characters that are left out.
    if not B and sizes[0] == SMALLEST_B and left_out(*sizes) > MOST * N:
        sizes = min(map(fit, range(SMALLEST_B, 2 * SMALLEST_B)), key=lambda sizes: left_out(*sizes))
    return sizes
