"""A job that a worker has taken from Redis."""

from collections.abc import Callable
from dataclasses import dataclass, field

from minichar.web.details import Details
from minichar.web.job import Job, Update, pieces


@dataclass(eq=False)
class Task:
    """A job and how much of its text has been published.

    Attributes
    ----------
    job_id : str
    acknowledge : callable
        Function that removes the job from the queue.
    job : Job or None
        None if the job could not be started or has failed.
    end : int
        Number of characters published so far.
    notices : list of Update
        Updates to publish before the text.
    failures : int
        Number of unexpected errors since the job's text was last published.
    """

    job_id: str
    acknowledge: Callable[[], None]
    job: Job | None = None
    end: int = 0
    notices: list[Update] = field(default_factory=list)
    failures: int = 0

    def updates(self) -> list[Update]:
        """Return the updates that have not yet been published."""
        news = self.job.news(self.end) if self.job else None
        return self.notices if news is None else [*self.notices, *pieces(news)]

    def fail(self) -> None:
        """End the job and replace its pending updates with an error."""
        if self.job:
            self.job.finish("error")
        self.job = None
        self.notices = [Update("", Details(), self.end, "error", "internal error: see the worker log")]
