"""The HTTP interface: what ``openapi.json`` describes, and the page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from minichar.web.desk import Desk
from minichar.web.guests import RETRY_AFTER, Guests, body
from minichar.web.metrics import Metrics
from minichar.web.old import old_routes
from minichar.web.request import OPENAPI, BadRequest, Request
from minichar.web.scheduler import Busy
from minichar.web.telling import STILL_HERE, event, read_all, told

BODY = 64 * 1024
"""The largest request, in bytes."""
LONGEST = 2**31
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(desk: Desk, per_client: int = 0) -> flask.Flask:
    """Return the application.

    Parameters
    ----------
    desk : Desk
        Who writes the texts.
    per_client : int
        How many requests a visitor may have at the same time; 0 for no limit.
    """
    app = flask.Flask("minichar", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY
    guests, metrics = Guests(per_client), Metrics(desk)

    @contextmanager
    def visit() -> Iterator[Callable[[], None]]:
        """Count the visitor in; he stays where he is answered by a stream, which calls what is yielded."""
        leave = guests.enter(flask.request.remote_addr or "")
        try:
            yield leave
        except BaseException:
            leave()
            raise

    def events(job: str, request: Request, after: int, leave: Callable[[], None]) -> flask.Response:
        """Answer with the text's events after the first characters."""
        begin = {"job": job, "model": request.model, "seed": request.seed, "from": after}

        def stream() -> Iterator[str]:
            yield event("begin", after, begin)
            for piece in metrics.counted(desk.follow(job, after)):
                yield STILL_HERE if piece is None else "".join(told(piece, request.alternatives))

        response = flask.Response(stream(), mimetype="text/event-stream")
        response.call_on_close(leave)
        return response

    @app.post("/api/generate")
    def generate() -> flask.Response:
        with visit() as leave:
            data = body()
            request = Request.of(data)
            job = desk.submit(request)
            request = desk.request(job)
            if data.get("stream", True):
                return events(job, request, request.start, leave)
            whole: dict[str, Any] = {"model": request.model, "seed": request.seed, "from": request.start}
            whole |= read_all(metrics.counted(desk.follow(job, request.start)), request.alternatives)
            leave()
            return flask.jsonify(whole)

    @app.get("/api/generate/<job>")
    def resume(job: str) -> flask.Response:
        try:
            after = int(flask.request.headers.get("Last-Event-ID", "0"))
        except ValueError:
            raise BadRequest("Last-Event-ID is not a whole number") from None
        if not 0 <= after < LONGEST:
            raise BadRequest("Last-Event-ID must be 0 or more, and no more than the text has")
        with visit() as leave:
            return events(job, desk.request(job), after, leave)

    @app.delete("/api/generate/<job>")
    def cancel(job: str) -> tuple[str, int]:
        desk.cancel(job)
        return "", 204

    @app.get("/api/models")
    def models() -> flask.Response:
        return flask.jsonify(models=[model.shown() for model in desk.models()])

    @app.get("/api/openapi.json")
    def openapi() -> flask.Response:
        return flask.jsonify(OPENAPI)

    @app.get("/healthz")
    def health() -> tuple[flask.Response, int]:
        try:
            number = len(desk.models())
        except Busy:
            number = 0
        return flask.jsonify(status="ok" if number else "unavailable", models=number), 200 if number else 503

    @app.get("/metrics")
    def measures() -> flask.Response:
        return flask.Response(metrics.text(), content_type="text/plain; version=0.0.4")

    app.register_blueprint(old_routes(desk))

    for path, (name, kind) in PAGE.items():
        content = files("minichar.web").joinpath("page", name).read_bytes()
        app.add_url_rule(
            path, name, lambda content=content, kind=kind: flask.Response(content, mimetype=kind)
        )

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        route = flask.request.url_rule.rule if flask.request.url_rule else "none"
        metrics.requests.labels(route, str(response.status_code)).inc()
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> flask.Response:
        response = flask.make_response(error.get_response())  # with the headers that belong to it
        response.data = flask.json.dumps({"error": error.description or error.name})
        response.mimetype = "application/json"
        return response

    @app.errorhandler(BadRequest)
    def mistaken(error: BadRequest) -> tuple[flask.Response, int]:
        return flask.jsonify(error=str(error)), 400

    @app.errorhandler(Busy)
    def busy(error: Busy) -> tuple[flask.Response, int, dict[str, str]]:
        return flask.jsonify(error=str(error)), 503, {"Retry-After": str(RETRY_AFTER)}

    @app.errorhandler(KeyError)
    def unknown(error: KeyError) -> tuple[flask.Response, int]:
        return flask.jsonify(error="there is no such text, or no more"), 404

    return app
