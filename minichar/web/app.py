"""Application for the web page and the HTTP API described in ``openapi.json``."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from minichar.web.access import Network
from minichar.web.completions import completion_routes
from minichar.web.delivery import Delivery
from minichar.web.errors import handle_error
from minichar.web.generate import generate_routes
from minichar.web.guard import Guard
from minichar.web.legacy import legacy_routes
from minichar.web.metrics import ServerMetrics
from minichar.web.plain import plain_routes
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit
from minichar.web.request import OPENAPI, BadRequest
from minichar.web.static import static_routes
from minichar.web.update import Busy


def create_app(
    queue: JobQueue,
    per_client: int = 0,
    keys: Sequence[str] = (),
    hosts: Sequence[str] = (),
    total: int = 0,
    trusted: Sequence[Network] = (),
    metrics_port: int | None = None,
) -> ASGIApp:
    """Create the application.

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
    trusted : sequence of networks
        Addresses of proxies whose X-Forwarded-For header is trusted.
    metrics_port : int or None
        Port at which ``/metrics`` needs no key. At other ports, it is not served without one.
    """
    metrics = ServerMetrics()
    routes = routes_of(queue, metrics, per_client, total)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await queue.start()
        yield
        await queue.close()

    async def no_such_job(http: HttpRequest, error: Exception) -> Response:
        return await handle_error(http, HTTPException(404, "no such job, or it has expired"))

    async def nobody(http: HttpRequest, error: Exception) -> Response:
        return Response()

    handlers = dict.fromkeys((BadRequest, Busy, HTTPException, Exception), handle_error)
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={**handlers, KeyError: no_such_job, ClientDisconnect: nobody},
    )
    app.router.redirect_slashes = False
    return Guard(app, metrics.requests, keys, hosts, trusted, metrics_port)


def routes_of(queue: JobQueue, metrics: ServerMetrics, per_client: int, total: int) -> list[Route]:
    """Return all routes. See `create_app` for the parameters."""
    delivery = Delivery(queue, ConcurrencyLimit(per_client, total), metrics)

    async def models(http: HttpRequest) -> Response:
        return JSONResponse({"models": [model.public() for model in await queue.models()]})

    async def openapi(http: HttpRequest) -> Response:
        return JSONResponse(OPENAPI)

    async def health(http: HttpRequest) -> Response:
        return JSONResponse({"status": "broken" if queue.broken else "ok"}, 503 if queue.broken else 200)

    async def ready(http: HttpRequest) -> Response:
        await queue.check()
        return JSONResponse({"status": "ready"})

    async def prometheus(http: HttpRequest) -> Response:
        if not http.state.private:
            raise HTTPException(404, "metrics are served on --metrics-port, or with an API key")
        try:
            jobs = await queue.job_counts()
        except Busy:
            jobs = {}
        return Response(metrics.text(jobs), media_type="text/plain; version=0.0.4")

    return [
        *generate_routes(delivery),
        Route("/api/models", models),
        Route("/api/openapi.json", openapi),
        Route("/healthz", health),
        Route("/readyz", ready),
        Route("/metrics", prometheus),
        *legacy_routes(delivery),
        *completion_routes(delivery),
        *plain_routes(delivery),
        *static_routes(),
    ]
