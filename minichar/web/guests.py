"""Visitors: what they send, and how much they may have going on."""

import json
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any

import flask
from werkzeug.exceptions import TooManyRequests, UnsupportedMediaType

from minichar.web.request import BadRequest

RETRY_AFTER = 2
"""Seconds after which one who was refused may ask again."""


class Guests:
    """Counts what each visitor has going on.

    Parameters
    ----------
    limit : int
        How many requests a visitor may have at the same time; 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.going_on, self.lock = limit, Counter[str](), Lock()

    def enter(self, visitor: str) -> Callable[[], None]:
        """Count one more; return what to call when it is over, once or more often.

        Raises
        ------
        TooManyRequests
            If the visitor has as many as he may.
        """
        with self.lock:
            if self.limit and self.going_on[visitor] >= self.limit:
                raise TooManyRequests(
                    f"you have {self.limit} requests going on: wait until one has ended",
                    retry_after=RETRY_AFTER,
                )
            self.going_on[visitor] += 1
        inside = [visitor]

        def leave() -> None:
            with self.lock:
                if inside:
                    self.going_on[inside.pop()] -= 1
                self.going_on += Counter()  # forgets the zeros

        return leave


def body() -> Any:
    """Return the JSON object that was sent."""
    if not flask.request.is_json:
        raise UnsupportedMediaType("send JSON, with Content-Type: application/json")
    try:
        data = json.loads(flask.request.get_data(), parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object")
    return data
