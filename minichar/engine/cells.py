"""The registry with minichar's own cells in it: importing a cell's file registers it."""

from minichar.engine import gru, gru_reset_before, lstm, rnn
from minichar.engine.cell import CELLS, models, register

__all__ = ["CELLS", "gru", "gru_reset_before", "lstm", "models", "register", "rnn"]
