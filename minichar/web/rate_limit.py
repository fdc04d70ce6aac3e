"""Limit the number of concurrent requests, per client and in total."""

from dataclasses import dataclass

from minichar.errors import counted
from minichar.web.errors import Busy, Refused
from minichar.web.texts import Texts


@dataclass(eq=False)
class Slot:
    """A request that counts towards its client's limit: while it is `open`, and until its job ends."""

    client: str
    job_id: str = ""
    open: bool = False


class ConcurrencyLimit:
    """Limit on the number of concurrent requests: `limit` per client (0: no limit), and `total`."""

    def __init__(self, texts: Texts, limit: int, total: int) -> None:
        self._texts, self._limit, self._total = texts, limit, total
        self._slots: set[Slot] = set()

    def acquire(self, client: str, job_id: str = "") -> Slot:
        """Count a new request from `client`. If `job_id` is given, the request is for an existing job.

        Raise `Refused` if a limit has been reached.
        """
        running = self._texts.in_progress()
        self._slots = {slot for slot in self._slots if slot.open or slot.job_id in running}
        slots = [slot for slot in self._slots if slot.client == client]
        slot = next((slot for slot in slots if slot.job_id == job_id and not slot.open), None)
        if slot is None and 0 < self._limit <= len(slots):
            held = counted(self._limit, "request")
            raise Refused(f"you already have {held} in progress: wait for one to finish", status=429)
        if self._total <= sum(slot.open for slot in self._slots):
            raise Busy("too many requests are in progress: try again later")
        slot = slot or Slot(client, job_id)
        slot.open = True
        self._slots.add(slot)
        return slot
