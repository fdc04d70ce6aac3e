"""Compute per-character features of text and their correlations with hidden-unit activations.

By inspecting activations, Karpathy, Johnson and Fei-Fei (2015, arXiv:1506.02078) found cells that track the
position in a line or detect quoted text. This module correlates each unit's activations with features of the
text. The largest correlations suggest which units to inspect first.
"""

import numpy as np

SENTENCE_ENDS = ".!?…。！？"
OPENING, CLOSING = "“«「『", "”»」』"


def traits(text: str) -> dict[str, np.ndarray]:
    """Return the features of `text`: a dict of arrays ``(N,)`` with one value per character.

    A newline counts as part of the following line. An unclosed quotation ends at the end of its paragraph.
    """
    position, indentation, inside, length = (np.zeros(len(text)) for _ in range(4))  # each (N,)
    lengths = iter([len(line) for line in text.split("\n")])
    column, indented, quoted, line_length = 0, 0, False, next(lengths)
    for i, character in enumerate(text):
        if character == "\n":
            quoted = quoted and column > 0
            column, indented, line_length = 0, 0, next(lengths)
        else:
            if character in " \t\u3000" and indented == column:
                indented += 1
            column += 1
        if character in OPENING:
            quoted = True
        elif character in CLOSING:
            quoted = False
        elif character == '"':
            quoted = not quoted
        position[i], indentation[i], inside[i], length[i] = column, indented, quoted, line_length
    return {
        "position in line": position,
        "inside quotes": inside,
        "indentation": indentation,
        "digits": np.array([float(character.isdigit()) for character in text]),
        "line length": length,
        "sentence end": np.array([float(character in SENTENCE_ENDS) for character in text]),
    }


def correlations(states: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return Pearson's r, ``(U, K)``, of the rows of ``(U, N)`` and ``(K, N)``; 0 if either is constant."""
    return _standard(states) @ _standard(values).T / states.shape[1]


def _standard(rows: np.ndarray) -> np.ndarray:
    """Scale rows to mean 0 and standard deviation 1. Constant rows are set to zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    # The standard deviation of a constant row can be slightly above 0 because of rounding.
    constant = deviation <= 1e-9 * (1 + abs(rows).max(axis=1, keepdims=True))
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))
