"""Import all built-in cells so that they are registered."""

from minichar.engine import gru, gru_reset_before, lstm, rnn
from minichar.engine.registry import CELLS

__all__ = ["CELLS", "gru", "gru_reset_before", "lstm", "rnn"]
