"""All texts of one model, written by one thread as columns of one batch.

`Scheduler` decides who is written and when; a `Writing` is one text in the making, written by
the scheduler's thread and read by others.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.generate import StopFilter
from minichar.sampling.streams import Stream, Streams
from minichar.web.request import Request, probabilities

PUBLISH = 0.05
"""Seconds between two pieces of a text for its readers."""
PATIENCE = 1.0
"""Seconds a reader waits before he is told that there is nothing new."""
ABANDONED = 10.0
"""Seconds without a reader after which a text is given up."""
ALTERNATIVES = 5

Detail = tuple[float, list[tuple[str, float]]]
"""The probability of a character, and the likeliest characters with theirs."""


class Busy(MinicharError):
    """There is no room for one more text."""


@dataclass(frozen=True)
class Piece:
    """What is new of a text.

    Attributes
    ----------
    text : str
    details : list of Detail
        One a character, or none at all.
    end : int
        How many characters the text has with this piece.
    reason : str or None
        Why there is no more (``Reason`` in ``openapi.json``).
    error : str
        What went wrong, where that is the reason.
    restarted : bool
        Another worker goes on from here.
    """

    text: str
    details: list[Detail]
    end: int
    reason: str | None = None
    error: str = ""
    restarted: bool = False


class Writing:
    """One text in the making.

    Parameters
    ----------
    request : Request
    stream : Stream

    Attributes
    ----------
    text : str
        What has been published.
    reason : str or None
        Why it ended.
    """

    def __init__(self, request: Request, stream: Stream) -> None:
        self.request, self.stream = request, stream
        self.text, self.details, self.error = "", list[Detail](), ""
        self.reason: str | None = None
        self._stop = StopFilter(request.stop)
        self._fresh, self._fresh_details = list[str](), list[Detail]()
        self._done: str | None = None
        self._changed = threading.Condition()
        self.began, self.first = time.monotonic(), 0.0
        self.seen, self.unread = self.began, 0.0

    # The scheduler's side

    def write(self, character: str, detail: Detail | None) -> bool:
        """Add one character; return whether the text is complete."""
        self._fresh.append(self._stop.push(character))
        if detail is not None:
            self._fresh_details.append(detail)
        if self._stop.stopped:
            self._done = "stop"
        elif self.stream.length >= self.request.length:
            self._fresh.append(self._stop.end())
            self._done = "length"
        return self._done is not None

    def publish(self) -> None:
        """Show the readers what is new."""
        fresh = "".join(self._fresh)
        if not fresh and self._done is None:
            return
        self._fresh.clear()
        with self._changed:
            self.text += fresh
            known = len(self.text) - len(self.details)  # what a stop string holds back keeps its details back
            self.details += self._fresh_details[:known]
            del self._fresh_details[:known]
            self.first = self.first or time.monotonic() - self.began
            self.reason = self._done
            self._changed.notify_all()

    def end(self, reason: str, error: str = "") -> None:
        """End it before its time."""
        with self._changed:
            if self.reason is None:
                self.reason = self._done = reason
                self.error = error
                self._changed.notify_all()

    def give_up_unread(self, passed: float) -> None:
        """End it if nobody has read it for long; `passed` is how many seconds ago this was asked before."""
        self.unread += passed
        if self.unread > ABANDONED:
            self.end("cancelled")

    # The readers' side

    def follow(self, after: int) -> Iterator[Piece | None]:
        """Yield what comes after the first `after` characters, to the end; None where nothing comes for long.

        Following it keeps it from being given up.
        """
        while True:
            self.seen, self.unread = time.monotonic(), 0.0
            with self._changed:
                if len(self.text) <= after and self.reason is None:
                    self._changed.wait(PATIENCE)
                text, details, reason = self.text[after:], self.details[after:], self.reason
            if not text and reason is None:
                yield None
                continue
            after += len(text)
            yield Piece(text, details, after, reason, self.error)
            if reason is not None:
                return


class Scheduler:
    """Writes texts with one model, in a thread of its own.

    Parameters
    ----------
    model : CharRNN
    columns : int
        How many texts are written at the same time.
    queue : int
        How many more may wait.
    pace : float
        Characters a second that a text gets at most; 0 for as many as can be. Reading the prime, and
        what is known of a text, is not slowed.
    """

    def __init__(self, model: CharRNN, columns: int, queue: int, pace: float) -> None:
        self.model, self.columns, self.room = model, columns, columns + queue
        self.interval = 1 / pace if pace else 0.0
        self.writings: dict[Stream, Writing] = {}
        self.waiting: deque[Writing] = deque()
        self.closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def begin(self, writing: Writing) -> None:
        """Let a text be written as soon as there is a column for it.

        Raises
        ------
        Busy
            If as many wait as may.
        """
        with self._changed:
            if self.closing or len(self.writings) + len(self.waiting) >= self.room:
                raise Busy("too many texts are being written: try again in a moment")
            self.waiting.append(writing)
            self._changed.notify()

    def close(self) -> None:
        """End all texts and the thread."""
        with self._changed:
            self.closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        # More threads in a product wait for each other, for milliseconds, where the cores are busy.
        with threadpool_limits(1, "blas"):
            while not self.closing:
                try:
                    self._write()
                except MinicharError as error:
                    self._end_all("error", str(error))
                except Exception:  # the next text may well be written
                    logging.exception("a text could not be written")
                    self._end_all("error", "the server has a fault, which its log tells")
            self._end_all("closing")

    def _end_all(self, reason: str, error: str = "") -> None:
        with self._changed:
            ended = [*self.writings.values(), *self.waiting]
            self.writings.clear()
            self.waiting.clear()
        for writing in ended:
            writing.end(reason, error)

    def _write(self) -> None:
        """Go step after step until it is closed."""
        streams = Streams(self.model.exact())
        published = due = time.monotonic()
        while self._admit(streams):
            writers, ids, scores = streams.step()
            self._hand_out(streams, writers, ids, scores)
            now = time.monotonic()
            if now - published >= PUBLISH:
                # Where the whole machine stood still, its readers did, too.
                self._publish(streams, min(now - published, PATIENCE))
                published = now
            due = max(due + self.interval, now - PUBLISH)  # what a slow step lost is caught up, within limits
            if len(writers) == len(streams.streams) and due > now:
                time.sleep(due - now)

    def _admit(self, streams: Streams) -> bool:
        """Give columns to those who wait; wait where there is no text. Return False when it is closed."""
        with self._changed:
            while not self.closing and not self.waiting and not self.writings:
                self._changed.wait()
            while self.waiting and len(self.writings) < self.columns:
                writing = self.waiting.popleft()
                self.writings[writing.stream] = writing
                streams.join(writing.stream)
            return not self.closing

    def _hand_out(self, streams: Streams, writers: list[Stream], ids: np.ndarray, scores: np.ndarray) -> None:
        """Give each text its character; take those out that are complete."""
        characters = self.model.vocabulary.characters
        details = self._details(writers, ids, scores)
        for j, (stream, k) in enumerate(zip(writers, ids.tolist(), strict=True)):
            writing = self.writings[stream]
            complete = writing.write(characters[k], details.get(j))
            if complete or not writing.text:
                writing.publish()
            if complete:
                self._leave(streams, stream)

    def _details(self, writers: list[Stream], ids: np.ndarray, scores: np.ndarray) -> dict[int, Detail]:
        """Return the details of the texts that want them, by their places among the writers."""
        wanted = [j for j, stream in enumerate(writers) if self.writings[stream].request.alternatives]
        if not wanted:
            return {}
        p = probabilities(scores[:, wanted])  # (V, n)
        n = min(ALTERNATIVES, len(self.model.vocabulary.characters))
        likeliest = np.argsort(-p, axis=0, kind="stable")[:n]  # (5, n)
        characters = self.model.vocabulary.characters
        return {
            j: (
                round(float(p[ids[j], i]), 5),
                [(characters[k], round(float(p[k, i]), 5)) for k in likeliest[:, i].tolist()],
            )
            for i, j in enumerate(wanted)
        }

    def _publish(self, streams: Streams, passed: float) -> None:
        """Show what is new of every text; take those out that were stopped or given up.

        `passed` is how many seconds ago it was done before.
        """
        for stream, writing in list(self.writings.items()):
            writing.publish()
            writing.give_up_unread(passed)
            if writing.reason is not None:
                self._leave(streams, stream)
        with self._changed:
            for writing in list(self.waiting):
                writing.give_up_unread(passed)
                if writing.reason is not None:
                    self.waiting.remove(writing)

    def _leave(self, streams: Streams, stream: Stream) -> None:
        streams.leave(stream)
        with self._changed:
            del self.writings[stream]
