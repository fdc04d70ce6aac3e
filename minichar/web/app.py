"""Application for the web page and the HTTP API described in ``openapi.json``."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minichar.web.access import Access
from minichar.web.completions import completion_routes
from minichar.web.delivery import Delivery
from minichar.web.errors import Busy, Refused, handle_error
from minichar.web.generate import generate_routes
from minichar.web.guard import Guard
from minichar.web.legacy import legacy_routes
from minichar.web.metrics import ServerMetrics
from minichar.web.plain import plain_routes
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit
from minichar.web.request import OPENAPI
from minichar.web.static import static_routes


def create_app(queue: JobQueue, access: Access, per_client: int, total: int) -> Guard:
    """Create the application. See `ConcurrencyLimit` for the limits `per_client` and `total`."""
    metrics = ServerMetrics()
    delivery = Delivery(queue, ConcurrencyLimit(queue.texts, per_client, total), metrics)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await queue.start()
        yield  # the server closes the queue before it waits for its responses to end

    async def models(http: HttpRequest) -> Response:
        return JSONResponse({"models": [model.public() for model in await queue.models()]})

    async def openapi(http: HttpRequest) -> Response:
        return JSONResponse(OPENAPI)

    async def health(http: HttpRequest) -> Response:
        broken = queue.broken
        return JSONResponse({"status": "broken" if broken else "ok"}, 503 if broken else 200)

    async def ready(http: HttpRequest) -> Response:
        await queue.check()
        return JSONResponse({"status": "ready"})

    async def prometheus(http: HttpRequest) -> Response:
        if not http.state.private:
            raise HTTPException(404, "metrics require an API key or the port set with --metrics-port")
        try:
            jobs = await queue.job_counts()
        except Busy:
            jobs = {}
        return Response(metrics.text(jobs), media_type="text/plain; version=0.0.4")

    async def nobody(http: HttpRequest, error: Exception) -> Response:
        return Response()

    handlers = dict.fromkeys((Refused, HTTPException, Exception), handle_error)
    app = Starlette(
        routes=[
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
        ],
        lifespan=lifespan,
        exception_handlers={**handlers, ClientDisconnect: nobody},
    )
    app.router.redirect_slashes = False
    return Guard(app, metrics.requests, access)
