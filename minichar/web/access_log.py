"""Log one line per request, once the response is complete."""

import logging
import re
import time
from typing import Any
from urllib.parse import quote

from waitress.task import ErrorTask, Task, WSGITask

LOGGER = logging.getLogger("minichar.access")
JOB = re.compile(r"(?<=^/api/generate/).+")
"""The id of a job in a path. It is not logged, because anyone who knows it can read the text."""


class LoggedTask(Task):
    """Task that logs its request at level ``INFO``: client, method, path, status, bytes and seconds."""

    request: Any
    sent = 0

    def service(self) -> None:
        """Handle the request."""
        start = time.monotonic()
        try:
            super().service()
        finally:
            LOGGER.info(
                "%s %s %s %s %d bytes %.3f s",
                quote(str(self.client()), safe=":"),
                quote(getattr(self.request, "command", None) or "-"),
                shown(getattr(self.request, "path", None) or "-"),
                self.status.partition(" ")[0],
                self.sent,
                time.monotonic() - start,
            )

    def write(self, data: bytes) -> None:
        """Write part of the response body."""
        self.sent += len(data)
        super().write(data)

    def client(self) -> object:
        """Return the client's address."""
        return self.channel.addr[0]


class LoggedError(LoggedTask, ErrorTask):
    """Response to a request that cannot be passed to the application."""


class LoggedRequest(LoggedTask, WSGITask):
    """Response from the application."""

    environ: dict[str, Any] | None

    def client(self) -> object:
        """Return the client's address, as forwarded by a trusted proxy if there is one."""
        return (self.environ or {}).get("REMOTE_ADDR", super().client())


def shown(path: str) -> str:
    """Return a path as printable ASCII, without job ids."""
    return quote(JOB.sub("JOB", path), encoding="latin-1")
