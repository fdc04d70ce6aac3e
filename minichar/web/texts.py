"""The texts that a server keeps in memory, within a budget."""

import asyncio
import ctypes
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from mmap import mmap

from minichar.web.details import SIZE, Details
from minichar.web.errors import Busy
from minichar.web.request import Request
from minichar.web.update import ABANDONED_AFTER, PIECE, READ_TIMEOUT, Update

KEEP = 600.0
"""Number of seconds that a finished text is kept after it was last used."""
KEEP_ALTERNATIVES = 30.0
"""Like `KEEP`, but for texts with alternatives, which take up 20 times as much memory."""
KEEP_FOR_READERS = 10.0
"""Seconds after the end of a job during which its text is not removed while it has a reader."""
OVERHEAD = 8192
"""Approximate memory use of a job, excluding its text, in bytes."""


def cost(request: Request, length: int) -> int:
    """Return the approximate memory use of a job with `length` characters, in bytes."""
    text = length * (4 + SIZE * request.alternatives)
    return OVERHEAD + text + 10 * len(request.prime) + 130 * len(request.branches)


class Text:
    """The text of one job, without the characters that its request skips.

    Attributes
    ----------
    reason : str or None
        Why the job ended; None while it is in progress.
    last_used : float
        Time at which the job ended or its last reader left, as measured by ``time.monotonic()``.
    attempts : int
        Number of workers that have started the job. Those that made progress count as one in total.
    position : str
        The last entry read from the text's stream in Redis. Each object has its own position, so a text
        that is lost and requested again is read from the beginning.
    """

    def __init__(self, request: Request) -> None:
        self.request, self.attempts = request, 0
        self.reason: str | None = None
        self.end, self.readers, self.last_used = request.start, 0, time.monotonic()
        self.position, self._ended = "0", 0.0
        self._text, self._error = "", ""
        # Mapped memory is allocated only when written to, and is returned to the operating system when freed.
        length = max(0, request.length - request.start)
        size = SIZE * length if request.alternatives else 0
        self._details: mmap | bytearray = mmap(-1, size) if size else bytearray()
        self._detailed = 0
        self._restarts, self._begun = 0, 0
        self._changed = asyncio.Event()

    def add(self, update: Update) -> None:
        """Append an update from a worker.

        A slow worker presumed dead may generate the same text as its successor.
        """
        if self.reason is not None:
            return
        update = update.after(self.end)
        self._text += update.text
        packed = update.details.packed
        self._details[self._detailed : self._detailed + len(packed)] = packed
        self._detailed += len(packed)
        self.end = update.end
        self._restarts += update.restarted
        if update.reason is not None:
            self.reason, self._error = update.reason, update.error
            self._ended = self.last_used = time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Count a worker that starts the job. All workers that made progress together count as one."""
        self.attempts = 2 if self.attempts and self.end > self._begun else self.attempts + 1
        self._begun = self.end

    def finish(self, reason: str) -> None:
        """End the job, unless it has already ended."""
        self.add(Update("", Details(), self.end, reason))

    def discard(self) -> None:
        """Release the text of a job that has ended. Any remaining readers receive the reason ``closing``."""
        self.reason, self.end, self._error = "closing", self.request.start, ""
        self._text, self._details = "", bytearray()

    def size(self) -> int:
        """Return the approximate memory use, in bytes. A job in progress reserves it for its whole text."""
        return cost(self.request, self.request.length if self.reason is None else len(self._text))

    def is_unused(self, seconds: float) -> bool:
        """Return whether the text has had no reader for more than this number of seconds."""
        return not self.readers and time.monotonic() - self.last_used > seconds

    @property
    def is_removable(self) -> bool:
        """Whether the job has ended and its text has no reader, or only readers that are too slow."""
        slow = time.monotonic() - self._ended > KEEP_FOR_READERS
        return self.reason is not None and (slow or not self.readers)

    def so_far(self) -> Update:
        """Return the whole text, for another worker that continues it."""
        return Update(self._text, Details(), self.end)

    async def follow(self, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        self.readers += 1
        told = self._restarts
        try:
            while True:
                changed, update = self._changed, self._news(after, told)
                if update is None:
                    try:
                        async with asyncio.timeout(READ_TIMEOUT):
                            await changed.wait()
                    except TimeoutError:
                        yield None
                    continue
                yield update
                after, told = update.end, told + update.restarted
                if update.reason is not None:
                    return
        finally:
            self.readers -= 1
            self.last_used = time.monotonic()

    def _news(self, after: int, told: int) -> Update | None:
        """Return the next update for a reader that has been notified of `told` restarts, if there is one.

        If the request asks for alternatives, the update is limited to `PIECE` characters, because its details
        take up much more memory while they are sent to a slow client.
        """
        if self._restarts > told:
            return Update("", Details(), after, restarted=True)
        if self.end <= after:
            return None if self.reason is None else Update("", Details(), after, self.reason, self._error)
        end = min(self.end, after + PIECE) if self.request.alternatives else self.end
        start = self.request.start
        packed = self._details[(after - start) * SIZE : min((end - start) * SIZE, self._detailed)]
        reason, error = (self.reason, self._error) if end == self.end else (None, "")
        return Update(self._text[after - start : end - start], Details(bytes(packed)), end, reason, error)


class Texts(dict[str, Text]):
    """Texts in progress and finished texts, keyed by job id, within a memory budget in bytes."""

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.memory = memory

    def add(self, job_id: str, text: Text) -> None:
        """Add the text of a job, after removing finished texts if necessary, or raise `Busy`."""
        for other_id in self.removable_for(text.size()):
            self.pop(other_id).discard()
        self[job_id] = text

    def removable_for(self, size: int = OVERHEAD) -> list[str]:
        """Return the ids of the finished texts to remove to add a text of `size` bytes, or raise `Busy`.

        The default size is that of an empty text. Texts without a reader come first.
        """
        excess = sum(other.size() for other in self.values()) + size - self.memory
        removable = [item for item in self.items() if item[1].is_removable]
        chosen = []
        for other_id, other in sorted(removable, key=lambda item: (item[1].readers > 0, item[1].last_used)):
            if excess <= 0:
                break
            excess -= other.size()
            chosen.append(other_id)
        if excess > 0:
            raise Busy("too many long texts are in progress: try again later")
        return chosen

    def lose(self, job_id: str) -> None:
        """Remove a text that cannot be completed. Any remaining readers receive the reason ``closing``."""
        if text := self.pop(job_id, None):
            text.finish("closing")

    def expire(self) -> bool:
        """Remove finished texts that have expired, and return whether there were any."""
        expired = [
            job_id
            for job_id, text in self.items()
            if text.reason and text.is_unused(KEEP_ALTERNATIVES if text.request.alternatives else KEEP)
        ]
        for job_id in expired:
            del self[job_id]
        return bool(expired)

    def abandoned(self) -> dict[str, Text]:
        """Return the jobs in progress that have had no reader for `ABANDONED_AFTER` seconds."""
        return {
            job_id: text for job_id, text in self.in_progress().items() if text.is_unused(ABANDONED_AFTER)
        }

    def in_progress(self) -> dict[str, Text]:
        """Return the jobs that have not ended."""
        return {job_id: text for job_id, text in self.items() if text.reason is None}


def return_memory() -> None:
    """Return freed memory to the system. glibc, unlike other C libraries, would otherwise keep it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
