"""Generation jobs. A scheduler thread appends characters to a job, and other threads read them."""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from itertools import pairwise
from mmap import mmap

from minichar.errors import MinicharError
from minichar.sampling.generate import StopFilter
from minichar.sampling.streams import State, Stream
from minichar.web.details import SIZE, Details
from minichar.web.request import Request

PUBLISH_INTERVAL = 0.05
"""Minimum number of seconds between updates of a job."""
MAX_UPDATES = 2000
"""Approximate maximum number of updates per second, for all jobs of a scheduler combined. Publishing an
update takes longer than generating a character."""
READ_TIMEOUT = 1.0
"""Seconds that a reader waits for an update before `Job.follow` yields None."""
ABANDONED_AFTER = 10.0
"""Seconds without a reader after which a job is cancelled."""
KEEP_FOR_READERS = 10.0
"""Seconds after the end of a job during which its text is kept for readers that have not received it."""
BLANK = bytes(SIZE)
"""Placeholder for the details of a character that the readers already have."""
PIECE = 100
"""Maximum number of characters per piece when an update that includes character details is split."""


class Busy(MinicharError):
    """Raised when the server is too busy to handle a request.

    Attributes
    ----------
    code : str or None
        Error code to include in responses, if any.
    """

    code: str | None = None


@dataclass(frozen=True)
class Update:
    """New text for a reader.

    Attributes
    ----------
    text : str
    details : Details
        Details of each character; empty if the request did not ask for alternatives.
    end : int
        Total number of characters generated, including this update.
    reason : str or None
        Why generation ended (``Reason`` in ``openapi.json``); None while it is in progress.
    error : str
        The error message, if the reason is ``error``.
    restarted : bool
        Whether another worker has taken over the job.
    """

    text: str
    details: Details
    end: int
    reason: str | None = None
    error: str = ""
    restarted: bool = False


def merge(updates: Iterable[Update | None]) -> Update:
    """Merge all updates of a finished job into one."""
    # Append to buffers: lists of the many short updates from a busy server would use a lot of memory.
    text, packed = StringIO(), bytearray()
    for update in filter(None, updates):
        text.write(update.text)
        packed += update.details.packed
        last = update
    return replace(last, text=text.getvalue(), details=Details(bytes(packed)))


def pieces(update: Update) -> Iterator[Update]:
    """Split an update that includes character details into pieces that can be unpacked one at a time.

    Details take up 20 times as much memory when unpacked.
    """
    n = len(update.text)
    for start, end in pairwise([0, *range(PIECE, n if update.details else 0, PIECE), n]):
        packed = update.details.packed[start * SIZE : end * SIZE]
        piece = Update(update.text[start:end], Details(packed), update.end - n + end)
        piece = replace(piece, restarted=update.restarted and start == 0)
        yield replace(piece, reason=update.reason, error=update.error) if end == n else piece


class Job:
    """Text generation for one request.

    Parameters
    ----------
    request : Request
    stream : Stream
    published : str
        Text that has already been published by other workers.

    Attributes
    ----------
    known : int
        Number of characters that readers already have, which are generated again without a speed limit.
    text : str
        The published text.
    reason : str or None
        Why the job ended; None while it is in progress.
    error : str
        The error message, if the reason is ``error``.
    state : State or None
        State of the stream when it joins a batch; None for a zero state.
    last_read : float
        Time at which a reader last asked for an update, as measured by ``time.monotonic()``.
    readers : int
        Number of iterators returned by `follow` that are in use.
    """

    def __init__(self, request: Request, stream: Stream, published: str = "") -> None:
        self.request, self.stream, self.published = request, stream, published
        self.known = max(len(published), request.start)
        self.text, self.error = "", ""
        self.reason: str | None = None
        self.state: State | None = None
        self.last_read, self._unread = time.monotonic(), 0.0
        self.readers, self._delivered, self._ended = 0, False, math.inf
        self._stop = StopFilter(request.stop)
        self._new_text, self._new_details = list[str](), list[bytes]()
        # `_details` covers the first `_detailed` characters of the text. Mapped memory is allocated only when
        # written to, and is returned to the operating system when freed. Arrays would fragment the heap.
        size = SIZE * request.length if request.alternatives else 0
        self._details: mmap | bytearray = mmap(-1, size) if size else bytearray()
        self._detailed = 0
        self._completed: str | None = None
        self._changed = threading.Condition()

    def append(self, character: str, detail: bytes = BLANK) -> bool:
        """Append one character and return whether the text is complete."""
        self._new_text.append(self._stop.push(character))
        if self.request.alternatives:
            self._new_details.append(detail)
        if self.stopped:
            self._completed = "stop"
        elif self.stream.length >= self.request.length:
            self._new_text.append(self._stop.end())
            self._completed = "length"
        return self._completed is not None

    @property
    def stopped(self) -> bool:
        """Whether a stop string has been generated."""
        return self._stop.stopped

    @property
    def generated(self) -> str:
        """The generated text, including text that has not been published yet."""
        return self.text + "".join(self._new_text) + self._stop.held

    def resume(self, text: str, state: State) -> None:
        """Start with `text`, which was generated earlier, and continue from `state`.

        A stop string in `text` completes the job.
        """
        any(self.append(character) for character in text)
        self.publish()
        self.state = state

    def publish(self) -> None:
        """Make the appended characters visible to readers."""
        new = "".join(self._new_text)
        if not new and self._completed is None:
            return
        with self._changed:
            if self.reason is not None:
                return
            self._new_text.clear()
            self.text += new
            # Do not yet publish the details of buffered characters, which may belong to a stop string.
            new_details = self._new_details[: len(self.text) - self._detailed]
            start, self._detailed = self._detailed, self._detailed + len(new_details)
            self._details[start * SIZE : self._detailed * SIZE] = b"".join(new_details)
            del self._new_details[: len(new_details)]
            if self._completed is not None:
                self._end(self._completed)
            self._changed.notify_all()

    def finish(self, reason: str, error: str = "") -> None:
        """End the job, unless it has already ended."""
        with self._changed:
            if self.reason is None:
                self._completed, self.error = reason, error
                self._end(reason)
                self._changed.notify_all()

    def _end(self, reason: str) -> None:
        """Record why and when the job ended."""
        self.reason, self._ended = reason, time.monotonic()

    @property
    def is_removable(self) -> bool:
        """Whether the job has ended and its text has either been read or been kept long enough."""
        was_read = self._delivered and not self.readers
        return was_read or time.monotonic() - self._ended > KEEP_FOR_READERS

    def discard(self) -> None:
        """Release the text of a job that has ended. Any remaining readers receive the reason ``closing``."""
        with self._changed:
            self.text, self.error, self._details, self._detailed = "", "", bytearray(), 0
            self.reason = "closing"

    def cancel_if_abandoned(self, elapsed: float) -> None:
        """Cancel the job if it has had no reader for `ABANDONED_AFTER` seconds.

        Parameters
        ----------
        elapsed : float
            Seconds since this method was last called.
        """
        self._unread += elapsed
        if self._unread > ABANDONED_AFTER:
            self.finish("cancelled")

    def follow(self, after: int) -> Iterator[Update | None]:
        """Yield updates until the job ends.

        Parameters
        ----------
        after : int
            Number of characters that the reader already has.

        Yields
        ------
        Update or None
            None if there was no update within `READ_TIMEOUT` seconds.
        """
        with self._changed:
            self.readers += 1
        try:
            while True:
                with self._changed:
                    if len(self.text) <= after and self.reason is None:
                        self._changed.wait(READ_TIMEOUT)
                update = self.news(after, PIECE)  # `PIECE` limits the memory used for each slow client
                yield update
                if update is not None:
                    after = update.end
                    if update.reason is not None:
                        self._delivered = True
                        return
        finally:
            with self._changed:
                self.readers -= 1

    def news(self, after: int, most: int | None = None) -> Update | None:
        """Return an update with the text after the first `after` characters, or None if nothing is new.

        If the request asks for alternatives, the update contains at most `most` characters.
        """
        self.last_read, self._unread = time.monotonic(), 0.0
        with self._changed:
            if len(self.text) <= after and self.reason is None:
                return None
            n = len(self.text)
            end = min(n, after + most) if most and self.request.alternatives else n
            text, packed = self.text[after:end], self._details[after * SIZE : min(end, self._detailed) * SIZE]
            update = Update(text, Details(bytes(packed)), after + len(text))
            return update if end < n else replace(update, reason=self.reason, error=self.error)
