"""Polling routes that support front ends written for the char-rnn-chinese demo."""

import time
from collections.abc import Iterator

import flask
from werkzeug.exceptions import TooManyRequests

from minichar.web.body import json_body
from minichar.web.delivery import Delivery
from minichar.web.job import Busy, Update, merge
from minichar.web.request import Request, validate

LENGTH, STOP, ELLIPSIS = 1000, ["\n" * 5], "……"
NOT_READY = "0"
WAIT = 0.2
"""Seconds to wait for the rest of a text."""


def legacy_routes(delivery: Delivery) -> flask.Blueprint:
    """Return a blueprint with the routes ``/api``, which submits a job, and ``/res``, which polls it."""
    routes = flask.Blueprint("legacy", __name__)

    @routes.post("/api")
    def submit() -> flask.Response:
        data = validate(json_body(), "Legacy")
        settings = {
            "temperature": float(data.get("temperature", 1)),
            "seed": int(data.get("seed", 0)),
            "length": LENGTH,
            "stop": STOP,
            "unknown": "skip",
        }
        try:
            slot, _ = delivery.submit(Request.from_json(settings | {"prime": data["primetext"]}))
        except Busy:
            return flask.jsonify(sid=0)
        delivery.close(slot)
        return flask.jsonify(sid=slot.job_id)

    @routes.post("/res")
    def poll() -> flask.Response:
        job_id = validate(json_body(), "Poll")["sid"]
        if not isinstance(job_id, str):
            return flask.jsonify(responds=NOT_READY)
        try:
            request = delivery.queue.request(job_id)
        except KeyError:
            return flask.jsonify(responds=NOT_READY)
        try:
            slot = delivery.acquire(job_id)
        except (TooManyRequests, Busy):
            return flask.jsonify(responds=NOT_READY)
        try:
            update = whole(delivery.queue.follow(job_id, 0))
            if update is None or update.reason == "closing":  # another server may continue the text
                return flask.jsonify(responds=NOT_READY)
            slot.release()
        finally:
            delivery.close(slot)
        ellipsis = ELLIPSIS if update.reason == "length" else ""
        return flask.jsonify(responds=request.prime + update.text + ellipsis)

    return routes


def whole(updates: Iterator[Update | None]) -> Update | None:
    """Return all updates of a job, merged into one, or None if the job does not end within `WAIT` seconds."""
    received, end = list[Update](), time.monotonic() + WAIT
    for update in updates:  # with Redis, even a finished text arrives in many updates
        if update is None:
            return None
        received.append(update)
        if update.reason is None and time.monotonic() > end:
            return None
    return merge(received)
