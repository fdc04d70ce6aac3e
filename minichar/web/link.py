"""The worker's side of the protocol between servers and workers, for which there are two transports.

    server → worker    an `Order`: start a job, and continue the text that earlier workers published
                       ids of jobs to stop
    worker → server    an announcement: the worker's models and number of columns
                       `Update`: the next part of a job's text; the last one contains the reason for its end

A worker that `minichar serve` starts uses a pipe (`minichar.web.pipe`), the others use Redis
(`minichar.web.redis_link`). Both transports carry the same messages in JSON.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minichar.web.update import Update


@dataclass(frozen=True)
class Order:
    """A job for a worker.

    Attributes
    ----------
    job_id : str
    request : str or None
        The serialised request; None if it has expired.
    published : list of Update
        The text that earlier workers have published.
    attempts : int
        Number of workers that have started the job, including this one.
    """

    job_id: str
    request: str | None
    published: list[Update] = field(default_factory=list)
    attempts: int = 1


class Link(ABC):
    """A worker's connection to the servers. Its methods may be called from several threads.

    They raise `Unavailable` while the servers cannot be reached.
    """

    @abstractmethod
    def announce(self, announcement: str, running: Mapping[str, Sequence[str]]) -> None:
        """Announce a worker, and keep other workers from taking over its running jobs.

        Called every `HEARTBEAT_INTERVAL` seconds. `announcement` is empty if the worker takes no more jobs.
        `running` contains the ids of each model's jobs.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """End the connection of a worker whose jobs have ended."""

    @abstractmethod
    def take(self, model: str) -> Order | None:
        """Take a job. If there is none, wait for up to `READ_TIMEOUT` seconds, and return None."""

    @abstractmethod
    def publish(self, model: str, news: Mapping[str, Sequence[Update]], ended: Sequence[str]) -> None:
        """Send updates, keyed by job id, and complete the jobs in `ended`."""

    @abstractmethod
    def unwanted(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have been cancelled or that nobody reads."""
