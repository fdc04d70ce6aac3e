"""Updates: the messages in which a worker sends the text of its jobs."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, Self

from minichar.web.details import SIZE, Details

READ_TIMEOUT = 1.0
"""Seconds that a reader waits for an update before it gets None instead."""
ABANDONED_AFTER = 10.0
"""Seconds without a reader after which a job is cancelled."""
PIECE = 100
"""Maximum number of characters whose details are unpacked at a time."""


@dataclass(frozen=True)
class Update:
    """New text for a reader."""

    text: str
    details: Details
    """Details of each character; empty if the request did not ask for alternatives."""
    end: int
    """Total number of characters generated, including this update."""
    reason: str | None = None
    """Why generation ended (``Reason`` in ``openapi.json``); None while it is in progress."""
    error: str = ""
    restarted: bool = False
    """Whether another worker has taken over the job."""

    def after(self, n: int) -> Self:
        """Return the update without the characters that are among the first `n` of the whole text."""
        start = n - self.end + len(self.text)
        if start <= 0:
            return self
        return replace(self, text=self.text[start:], details=self.details.after(start), end=max(self.end, n))

    def dump(self) -> dict[str, Any]:
        """Return the fields as values that can be encoded as JSON."""
        return vars(self) | {"details": b64encode(self.details.packed).decode()}

    @classmethod
    def load(cls, fields: dict[str, Any]) -> Self:
        """Restore an update from the result of `dump`."""
        return cls(**fields | {"details": Details(b64decode(fields["details"]))})


async def merge(updates: AsyncIterable[Update | None]) -> Update:
    """Read a job to its end, and merge all of its updates into one."""
    # Append to buffers: lists of the many short updates from a busy server would use a lot of memory.
    text, packed = StringIO(), bytearray()
    last = Update("", Details(), 0)
    async for update in updates:
        if update is not None:
            text.write(update.text)
            packed += update.details.packed
            last = update
    return replace(last, text=text.getvalue(), details=Details(bytes(packed)))


def pieces(update: Update) -> Iterator[Update]:
    """Split an update with character details into parts that can be unpacked one at a time.

    Details take up 20 times as much memory when unpacked.
    """
    first = update.end - len(update.text)
    for start in range(0, len(update.text), PIECE):
        text = update.text[start : start + PIECE]
        details = Details(update.details.packed[start * SIZE : (start + PIECE) * SIZE])
        yield Update(text, details, first + start + len(text))
