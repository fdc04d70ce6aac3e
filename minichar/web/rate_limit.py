"""Limit on concurrent requests, per client."""

from collections import Counter
from collections.abc import Callable
from threading import Lock

from werkzeug.exceptions import TooManyRequests

RETRY_AFTER = 2
"""Seconds after which a rejected client may retry."""


class ConcurrencyLimit:
    """Limit on the number of concurrent requests per client.

    Parameters
    ----------
    limit : int
        Maximum number of concurrent requests per client; 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.active, self.lock = limit, Counter[str](), Lock()

    def acquire(self, client: str) -> Callable[[], None]:
        """Count a new request from `client`.

        Returns
        -------
        callable
            Function to call when the request ends. Further calls have no effect.

        Raises
        ------
        TooManyRequests
            If the client has reached the limit.
        """
        with self.lock:
            if self.limit and self.active[client] >= self.limit:
                raise TooManyRequests(
                    f"you already have {self.limit} requests in progress: wait for one to finish",
                    retry_after=RETRY_AFTER,
                )
            self.active[client] += 1
        held = [client]

        def release() -> None:
            with self.lock:
                if held:
                    self.active[held.pop()] -= 1
                self.active += Counter()  # removes zero counts

        return release
