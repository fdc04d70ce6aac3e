"""Limit the number of concurrent requests, per client and in total."""

import ipaddress
import math
import time
from dataclasses import dataclass

from minichar.errors import counted
from minichar.web.errors import Busy, Refused
from minichar.web.update import ABANDONED_AFTER

MARGIN = 2.0
"""Seconds allowed for cancelling an abandoned job, because a worker does so only after its next check."""


@dataclass(eq=False)
class Slot:
    """A request that counts towards its client's limit until the time `expires` (``time.monotonic()``)."""

    client: str
    expires: float = math.inf
    job_id: str = ""

    def release(self) -> None:
        """Stop counting the request."""
        self.expires = 0.0

    def close(self) -> None:
        """End the request, but keep counting it until its job is cancelled for lack of a reader."""
        if self.expires == math.inf:
            self.expires = time.monotonic() + ABANDONED_AFTER + MARGIN if self.job_id else 0.0


class ConcurrencyLimit:
    """Limit on the number of concurrent requests, per client and in total; 0 for no limit.

    A job without a reader counts towards its client's limit until it is cancelled.
    """

    def __init__(self, limit: int, total: int = 0) -> None:
        self.limit, self.total = limit, total
        self._slots: set[Slot] = set()

    def acquire(self, client: str, job_id: str = "") -> Slot:
        """Count a new request from `client`. If `job_id` is given, the request is for an existing job.

        Raises
        ------
        Refused
            If the client has reached its limit.
        Busy
            If the limit on the total number of requests has been reached.
        """
        now = time.monotonic()
        self._slots = {slot for slot in self._slots if slot.expires > now}
        slots = {slot for slot in self._slots if slot.client == client}
        without_reader = {slot for slot in slots if slot.expires < math.inf}
        resumed = {slot for slot in without_reader if job_id and slot.job_id == job_id}
        if self.limit and len(slots - resumed) >= self.limit:
            held = counted(self.limit, "request")
            raise Refused(f"you already have {held} in progress: wait for one to finish", status=429)
        if self.total and sum(slot.expires == math.inf for slot in self._slots) >= self.total:
            raise Busy("too many requests are in progress: try again later")
        self._slots -= resumed
        slot = Slot(client, job_id=job_id)
        self._slots.add(slot)
        return slot

    def lingering(self, job_id: str) -> list[Slot]:
        """Return a list of a job's slots whose requests have ended."""
        return [slot for slot in self._slots if slot.job_id == job_id and slot.expires < math.inf]


def client_name(address: str) -> str:
    """Return the client name under which requests from an address are counted.

    The addresses in an IPv6 /64 network usually belong to the same client, so they count as one client. All
    IPv4-mapped addresses (``::ffff:192.0.2.1``) share one /64 network, so they count as IPv4 addresses.
    """
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:  # IPv4
        return address
    return str(mapped or ipaddress.ip_network(f"{address}/64", strict=False))
