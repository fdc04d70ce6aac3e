"""Import all built-in cells, which registers them."""

from minichar.engine import gru, gru_reset_before, lstm, rnn
from minichar.engine.registry import CELLS, models

__all__ = ["CELLS", "gru", "gru_reset_before", "lstm", "models", "rnn"]
