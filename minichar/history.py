"""The history of a training run: one row of numbers per evaluation.

Checkpoints store the history as a float64 array with the columns in `COLUMNS` (88 bytes per evaluation).
Without validation data, some losses cannot be measured. These losses are NaN in arrays and None in rows.

This module is not in a package, because training appends to the history, checkpoints store it, and pictures
plot it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isnan, nan
from typing import Any, overload

import numpy as np

from minichar.errors import Refused, counted

COLUMNS = (
    "iteration",
    "epoch",
    "train_loss",
    "val_loss",
    "val_first",
    "val_last",
    "fit_loss",
    "fit_first",
    "fit_last",
    "learning_rate",
    "teacher_forcing_ratio",
)
OPTIONAL = COLUMNS[3:9]
LARGEST = 1e15
"""Upper limit for losses, steps and epochs, far above any realistic value."""

Row = dict[str, Any]


class History(Sequence[Row]):
    """The evaluations of a training run, in order.

    A row is a dict with the keys in `COLUMNS`. ``iteration`` is an int, losses that were not measured are
    None, and all other values are floats. The history is stored as an array, and rows are created when they
    are accessed, so a long history takes little memory.

        history[-1]             the last row
        history[:10]            the history of the first 10 evaluations
        history["val_loss"]     one column, as a float64 array (n,) with NaN for losses that were not measured
    """

    def __init__(self, rows: Iterable[Mapping[str, float | None]] = ()) -> None:
        self._table, self._length = np.empty((0, len(COLUMNS))), 0  # (capacity, 11)
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, float | None]) -> None:
        """Append the evaluation `row`, a mapping with the keys in `COLUMNS`."""
        if self._length == len(self._table):  # grow by an eighth: appending takes amortised constant time
            spare = np.empty((self._length // 8 + 1, len(COLUMNS)))
            self._table = np.concatenate([self._table, spare])
        self._table[self._length] = [nan if (x := row[name]) is None else float(x) for name in COLUMNS]
        self._length += 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> np.ndarray: ...
    def __getitem__(self, key: int | slice | str) -> Row | History | np.ndarray:
        table = self.to_array()
        if isinstance(key, str):
            if key not in COLUMNS:
                raise KeyError(f"{key!r} is not one of {', '.join(COLUMNS)}")
            return table[:, COLUMNS.index(key)]
        return History._of(table[key]) if isinstance(key, slice) else _row(table[key])

    def __iter__(self) -> Iterator[Row]:
        return map(_row, self.to_array())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return np.array_equal(self.to_array(), other.to_array(), equal_nan=True)

    def __repr__(self) -> str:
        return f"<History: {counted(len(self), 'evaluation')}>"

    @property
    def best(self) -> Row | None:
        """The first evaluation with the lowest validation loss, or None if none was measured."""
        losses = self["val_loss"]  # (n,)
        return None if np.isnan(losses).all() else self[int(np.nanargmin(losses))]

    def to_array(self) -> np.ndarray:
        """Return the history as an array of shape ``(n, len(COLUMNS))``, without copying it."""
        return self._table[: self._length]  # (n, 11)

    @classmethod
    def from_array(cls, values: np.ndarray) -> History:
        """Create a history from an array. Raises `Refused` if it is not a valid history."""
        if values.ndim != 2 or values.shape[1] != len(COLUMNS) or values.dtype != "float64":
            raise Refused(f"its history has shape {values.shape} and dtype {values.dtype}")
        missing = np.isnan(values)  # (n, 11)
        required = [name not in OPTIONAL for name in COLUMNS]
        largest = [inf if name == "learning_rate" else LARGEST for name in COLUMNS]
        in_range = (values >= 0) & (values <= largest) & (values < inf)  # (n, 11)
        if missing[:, required].any() or not (in_range | missing).all():
            raise Refused(f"its history has values that are not numbers from 0 to {LARGEST:g}")
        iterations = values[:, 0]  # (n,)
        if (iterations != np.floor(iterations)).any() or (np.diff(iterations, prepend=0) <= 0).any():
            raise Refused("the iterations in its history are not increasing integers")
        return cls._of(values)

    @classmethod
    def _of(cls, table: np.ndarray) -> History:
        history = cls()
        history._table, history._length = table, len(table)
        return history


def _row(values: np.ndarray) -> Row:
    """Return the values ``(11,)`` of an evaluation as a dict."""
    row = dict(zip(COLUMNS, values.tolist(), strict=True))
    row["iteration"] = int(row["iteration"])
    return row | {name: None for name in OPTIONAL if isnan(row[name])}
