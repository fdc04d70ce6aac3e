"""Generation jobs in a worker. A scheduler appends characters, and the worker publishes them."""

import threading

from minichar.sampling.generate import StopFilter
from minichar.sampling.streams import Stream
from minichar.web.details import Details
from minichar.web.request import Request
from minichar.web.update import Update

PUBLISH_INTERVAL = 0.05
"""Minimum number of seconds between updates of a job."""
MAX_UPDATES = 1000
"""Approximate maximum number of updates per second, for all jobs of a scheduler combined. Publishing an
update involves two processes and takes longer than generating a character."""


class Job:
    """Text generation for one request. Other workers may already have `published` some characters.

    Characters that readers already have, `known`, are generated again, but not published. `end` is the number
    of characters that are known or have been taken, and `reason` why the job ended.
    """

    def __init__(self, request: Request, stream: Stream, published: int = 0) -> None:
        self.request, self.stream = request, stream
        self.known = max(published, request.start)
        self.end = self.known
        self.reason: str | None = None
        self._error = ""
        self._stop = StopFilter(request.stop)
        self._length = 0  # of the text, including the known text and excluding what may be a stop string
        self._new, self._text = list[str](), ""  # before and after they are published
        self._details = list[bytes]()  # of the characters beyond `end`, including unpublished ones
        self._completed: str | None = None
        self._lock = threading.Lock()

    @property
    def catching_up(self) -> bool:
        """Whether the stream is still reading its prompt or generating known text."""
        return len(self.stream.pending) > 1 or self.stream.length < self.known

    @property
    def wants_details(self) -> bool:
        """Whether readers need the details of the last character."""
        return self.request.alternatives and self.stream.length > self.known

    def append(self, character: str, detail: bytes = b"") -> bool:
        """Append one character, and its details if they are wanted. Return whether the text is complete."""
        self._new.append(self._stop.push(character))
        if detail:
            self._details.append(detail)
        if self._stop.stopped:
            self._completed = "stop"
        elif self.stream.length >= self.request.length:
            self._new.append(self._stop.end())
            self._completed = "length"
        return self._completed is not None

    def publish(self) -> bool:
        """Make the appended characters available to `news`, and return whether there is any news."""
        new = "".join(self._new)
        self._new.clear()
        with self._lock:
            if self.reason is None:
                self._text += new[max(0, self.known - self._length) :]
                self._length += len(new)
                self.reason = self._completed
            return bool(self._text) or self.reason is not None

    def finish(self, reason: str, error: str = "") -> None:
        """End the job, unless it has already ended."""
        with self._lock:
            if self.reason is None:
                self.reason, self._error = reason, error

    def news(self) -> Update | None:
        """Return the published text that has not been taken, or None if there is nothing new."""
        with self._lock:
            n = len(self._text)
            if not n and self.reason is None:
                return None
            packed = b"".join(self._details[:n])
            return Update(self._text, Details(packed), self.end + n, self.reason, self._error)

    def take(self, update: Update) -> None:
        """Discard the text of an update returned by `news`."""
        with self._lock:
            n = len(update.text)
            self._text = self._text[n:]
            del self._details[:n]
            self.end = update.end
