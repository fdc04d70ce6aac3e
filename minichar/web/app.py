"""Flask application for the web page and the HTTP API described in ``openapi.json``."""

from collections.abc import Sequence
from functools import partial

import flask

from minichar.web.body import json_body
from minichar.web.completions import completion_routes
from minichar.web.delivery import Delivery
from minichar.web.errors import handle_errors
from minichar.web.hosts import check_host
from minichar.web.job import Busy
from minichar.web.keys import checked_key
from minichar.web.legacy import legacy_routes
from minichar.web.metrics import Metrics
from minichar.web.plain import plain_routes
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit, Slot
from minichar.web.request import OPENAPI, BadRequest, Request
from minichar.web.sse import begin, document, events, notice
from minichar.web.static import static_routes

MAX_BODY = 64 * 1024
"""Maximum size of a request body, in bytes."""
MAX_EVENT_ID = 2**31 - 1
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(
    queue: JobQueue,
    per_client: int = 0,
    keys: Sequence[str] = (),
    hosts: Sequence[str] = (),
    total: int = 0,
) -> flask.Flask:
    """Create the Flask application.

    Parameters
    ----------
    queue : JobQueue
        The queue that runs the jobs.
    per_client : int
        Maximum number of concurrent requests per client; 0 for no limit.
    keys : sequence of str
        API keys, one of which every API request must include. If empty, no key is required. Each key
        counts as one client.
    hosts : sequence of str
        Host names to accept, in addition to IP addresses and ``localhost``; ``*`` to accept any name.
    total : int
        Maximum number of concurrent requests for new or already generated text; 0 for no limit.
    """
    app = flask.Flask("minichar", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    metrics = Metrics(queue)
    stalled = partial(notice, queue)
    delivery = Delivery(queue, ConcurrencyLimit(per_client, total), metrics)

    @app.before_request
    def check_host_and_key() -> None:
        check_host(flask.request.host, hosts)
        flask.g.key = checked_key(keys)

    def stream(slot: Slot, request: Request, after: int) -> flask.Response:
        form = partial(events, stalled, slot.job_id, request)
        return delivery.stream(slot, after, begin(slot.job_id, request, after), form)

    @app.post("/api/generate")
    def generate() -> flask.Response:
        data = json_body()
        slot, request = delivery.submit(Request.from_json(data))
        if data.get("stream", True):
            return stream(slot, request, request.start)
        return delivery.document(slot, request, partial(document, request))

    @app.get("/api/generate/<job>")
    def resume(job: str) -> flask.Response:
        given = flask.request.headers.get("Last-Event-ID", "0")
        try:
            after = int(given)
        except ValueError:
            after = -1
        if not 0 <= after <= MAX_EVENT_ID:
            raise BadRequest(f"Last-Event-ID must be an integer from 0 to {MAX_EVENT_ID}")
        request = queue.request(job)
        after = max(after, request.start)
        return stream(delivery.acquire(job), request, after)

    @app.delete("/api/generate/<job>")
    def cancel(job: str) -> tuple[str, int]:
        if queue.cancel(job):
            for slot in delivery.limit.lingering(job):
                slot.release()
        return "", 204

    @app.get("/api/models")
    def models() -> flask.Response:
        return flask.jsonify(models=[model.public() for model in queue.models()])

    @app.get("/api/openapi.json")
    def openapi() -> flask.Response:
        return flask.jsonify(OPENAPI)

    @app.get("/healthz")
    def health() -> tuple[flask.Response, int]:
        try:
            number = len(queue.models())
        except Busy:
            number = 0
        return flask.jsonify(status="ok" if number else "unavailable", models=number), 200 if number else 503

    @app.get("/metrics")
    def prometheus() -> flask.Response:
        return flask.Response(metrics.text(), content_type="text/plain; version=0.0.4")

    app.register_blueprint(legacy_routes(delivery))
    app.register_blueprint(completion_routes(delivery))
    app.register_blueprint(plain_routes(delivery))
    app.register_blueprint(static_routes())

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        route = flask.request.url_rule.rule if flask.request.url_rule else "none"
        metrics.requests.labels(route, str(response.status_code)).inc()
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    handle_errors(app)
    return app
