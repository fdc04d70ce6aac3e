"""The history of a training run: one row of numbers per evaluation.

Checkpoints store the history as a float64 array with the columns in `COLUMNS` (88 bytes per evaluation).
Without validation data, some losses cannot be measured. These losses are NaN in the array and None in the
dicts that a `History` yields.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, isnan, nan
from typing import Any

import numpy as np

from minichar.errors import MinicharError

COLUMNS = (
    *("iteration", "epoch", "train_loss"),
    *("val_loss", "val_first", "val_last"),
    *("fit_loss", "fit_first", "fit_last"),
    *("learning_rate", "teacher_forcing_ratio"),
)
OPTIONAL = COLUMNS[3:9]
LARGEST = 1e15
"""Upper limit for losses, steps and epochs, far above any realistic value."""

Row = dict[str, Any]


class History:
    """The evaluations of a training run, in order.

    Iterating over a history yields one dict per evaluation, with the keys in `COLUMNS`. ``iteration`` is an
    int, losses that were not measured are None, and all other values are floats.
    """

    def __init__(self, rows: Iterable[Mapping[str, float | None]] = ()) -> None:
        self._values = array("d")  # appending takes amortised constant time
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, float | None]) -> None:
        """Append the evaluation `row`, a mapping with the keys in `COLUMNS`."""
        self._values.extend(nan if row[name] is None else float(row[name]) for name in COLUMNS)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._values) // len(COLUMNS)

    def __iter__(self) -> Iterator[Row]:
        for values in self.to_array().tolist():
            row = dict(zip(COLUMNS, values, strict=True))
            row["iteration"] = int(row["iteration"])
            yield row | {name: None for name in OPTIONAL if isnan(row[name])}

    def to_array(self) -> np.ndarray:
        """Return a copy of the history as an array of shape ``(n, len(COLUMNS))``."""
        return np.array(self._values).reshape(-1, len(COLUMNS))  # (n, 11)

    @classmethod
    def from_array(cls, values: np.ndarray, corrupted: Callable[[str], MinicharError]) -> "History":
        """Create a history from the array `values`.

        Raises
        ------
        MinicharError
            If the array is not a valid history. `corrupted` is called with the reason and returns
            the error to raise.
        """
        if values.ndim != 2 or values.shape[1] != len(COLUMNS) or values.dtype != "float64":
            raise corrupted(f"its history has shape {values.shape} and dtype {values.dtype}")
        missing = np.isnan(values)  # (n, 11)
        required = [name not in OPTIONAL for name in COLUMNS]
        largest = [inf if name == "learning_rate" else LARGEST for name in COLUMNS]
        in_range = (values >= 0) & (values <= largest) & (values < inf)  # (n, 11)
        if missing[:, required].any() or not (in_range | missing).all():
            raise corrupted(f"its history has values that are not numbers from 0 to {LARGEST:g}")
        iterations = values[:, 0]  # (n,)
        if (iterations != np.floor(iterations)).any() or (np.diff(iterations, prepend=0) <= 0).any():
            raise corrupted("the iterations in its history are not increasing integers")
        history = cls()
        history._values.frombytes(np.ascontiguousarray(values).tobytes())
        return history

    @classmethod
    def from_rows(cls, rows: Iterable[Any], corrupted: Callable[[str], MinicharError]) -> "History":
        """Create a history from a list of nested dicts, as stored in checkpoints of format version 1."""
        history = cls()
        try:
            for row in rows:
                val, fit = row["val"] or {}, row["fit"] or {}
                history.append(
                    {name: row[name] for name in ("iteration", "epoch", "train_loss", "learning_rate")}
                    | {f"val_{part}": val.get(part) for part in ("loss", "first", "last")}
                    | {f"fit_{part}": fit.get(part) for part in ("loss", "first", "last")}
                    | {"teacher_forcing_ratio": row["true_share"]}
                )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise corrupted(f"its history is incomplete or corrupted ({error})") from error
        return cls.from_array(history.to_array(), corrupted)
