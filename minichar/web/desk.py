"""Where texts are asked for and read: the server's own desk, and what every desk can do."""

import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from minichar.model import CharRNN
from minichar.web.models import ModelInfo, describe
from minichar.web.request import BadRequest, Request
from minichar.web.scheduler import Busy, Piece, Scheduler, Writing

KEPT = 600.0
"""Seconds that a text can be read after it has ended."""


class Unavailable(Busy):
    """Nobody is there to write."""


class Desk(ABC):
    """Takes requests and gives out texts, a piece after the other."""

    @abstractmethod
    def models(self) -> list[ModelInfo]:
        """Return the models to choose from, the default first."""

    @abstractmethod
    def submit(self, request: Request) -> str:
        """Let a text be written; return the name of the job.

        Raises
        ------
        BadRequest
            If there is no such model, or it does not know a character.
        Busy
            If too many texts are being written.
        """

    @abstractmethod
    def request(self, job: str) -> Request:
        """Return what was asked for.

        Raises
        ------
        KeyError
            If there is no such job.
        """

    @abstractmethod
    def follow(self, job: str, after: int) -> Iterator[Piece | None]:
        """Yield what comes after the first `after` characters; None where nothing comes for long."""

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Stop writing it; no such job is no mistake."""

    @abstractmethod
    def loads(self) -> dict[str, int]:
        """Return how many texts are written now, and how many wait."""

    @abstractmethod
    def close(self) -> None:
        """End all that is going on."""

    def choose(self, request: Request) -> tuple[Request, ModelInfo]:
        """Return the request with its model's name, and the model."""
        models = self.models()
        if not models:
            raise Unavailable("there is no worker now: try again in a moment")
        wanted = request.model or models[0].name
        for model in models:
            if model.name == wanted:
                return request.of_model(wanted), model
        raise BadRequest(f"there is no model {wanted!r}; /api/models lists them")


class OwnDesk(Desk):
    """Writes with models of its own, in threads of this process.

    Parameters
    ----------
    models : dict of str to CharRNN
    columns, queue, pace
        As `Scheduler`, for each model.
    """

    def __init__(self, models: dict[str, CharRNN], columns: int, queue: int, pace: float) -> None:
        self._models, self._scheduling = models, (columns, queue, pace)
        self._infos = [describe(name, model) for name, model in models.items()]
        self._schedulers: dict[str, Scheduler] = {}
        self._jobs: dict[str, Writing] = {}
        self._lock = threading.Lock()

    def models(self) -> list[ModelInfo]:
        """Return the models to choose from."""
        return self._infos

    def submit(self, request: Request) -> str:
        """Let a text be written; return the name of the job."""
        request, model = self.choose(request)
        writing = Writing(request, request.stream(model.vocabulary))
        with self._lock:
            self._forget()
            if model.name not in self._schedulers:
                self._schedulers[model.name] = Scheduler(self._models[model.name], *self._scheduling)
            self._schedulers[model.name].begin(writing)
            job = secrets.token_urlsafe(12)
            self._jobs[job] = writing
        return job

    def request(self, job: str) -> Request:
        """Return what was asked for."""
        return self._jobs[job].request

    def follow(self, job: str, after: int) -> Iterator[Piece | None]:
        """Yield what comes after the first `after` characters."""
        return self._jobs[job].follow(after)

    def cancel(self, job: str) -> None:
        """Stop writing it."""
        if job in self._jobs:
            self._jobs[job].end("cancelled")

    def loads(self) -> dict[str, int]:
        """Return how many texts are written now, and how many wait."""
        schedulers = list(self._schedulers.values())
        return {
            "writing": sum(len(scheduler.writings) for scheduler in schedulers),
            "waiting": sum(len(scheduler.waiting) for scheduler in schedulers),
        }

    def close(self) -> None:
        """End all texts."""
        for scheduler in self._schedulers.values():
            scheduler.close()

    def _forget(self) -> None:
        """Drop the texts that ended long ago."""
        now = time.monotonic()
        for job, writing in list(self._jobs.items()):
            if writing.reason is not None and now - writing.seen > KEPT:
                del self._jobs[job]
