"""The two routes of char-rnn-chinese's demo, for pages made for it: ask, then poll."""

import flask

from minichar.web.desk import Desk
from minichar.web.guests import body
from minichar.web.request import BadRequest, Request, check
from minichar.web.scheduler import Busy

LENGTH, STOP, CUT = 1000, ["\n" * 5], "……"
NOT_READY = "0"


def old_routes(desk: Desk) -> flask.Blueprint:
    """Return ``/api`` and ``/res``."""
    routes = flask.Blueprint("old", __name__)

    @routes.post("/api")
    def ask() -> flask.Response:
        asked = check(body(), "Old")
        try:
            temperature, seed = float(asked.get("temperature", 1)), int(asked.get("seed", 0))
        except ValueError:
            raise BadRequest("temperature and seed must be numbers") from None
        settings = {
            "temperature": temperature,
            "seed": seed,
            "length": LENGTH,
            "stop": STOP,
            "unknown": "skip",
        }
        request = Request.of(settings | {"prime": asked["primetext"]})
        try:
            return flask.jsonify(sid=desk.submit(request))
        except Busy:
            return flask.jsonify(sid=0)

    @routes.post("/res")
    def fetch() -> flask.Response:
        job = body().get("sid")
        try:
            request = desk.request(job if isinstance(job, str) else "")
        except KeyError:
            return flask.jsonify(responds=NOT_READY)
        piece = next(desk.follow(job, 0))
        if piece is None or piece.reason is None:
            return flask.jsonify(responds=NOT_READY)
        cut = CUT if piece.reason == "length" else ""
        return flask.jsonify(responds=request.prime + piece.text + cut)

    return routes
