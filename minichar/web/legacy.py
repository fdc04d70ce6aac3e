"""Polling routes that support front ends written for the char-rnn-chinese demo."""

import asyncio
from contextlib import aclosing

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minichar.web.delivery import Delivery
from minichar.web.errors import AsciiJSONResponse, Busy, NoSuchJob, Refused
from minichar.web.request import Request, validate
from minichar.web.responses import json_body
from minichar.web.update import merge

LENGTH, STOP, ELLIPSIS = 1000, ["\n" * 5], "……"
NOT_READY = "0"
WAIT = 0.2
"""Seconds to wait for the rest of a text."""


def legacy_routes(delivery: Delivery) -> list[Route]:
    """Return the routes ``/api``, which submits a job, and ``/res``, which polls it."""

    async def submit(http: HttpRequest) -> Response:
        data = validate(await json_body(http), "Legacy")
        settings = {
            "temperature": float(data.get("temperature", 1)),
            "seed": int(data.get("seed", 0)),
            "length": LENGTH,
            "stop": STOP,
            "unknown": "skip",
        }
        try:
            slot, _ = await delivery.submit(http, Request.from_json(settings | {"prime": data["primetext"]}))
        except Busy:
            return JSONResponse({"sid": 0})
        await delivery.close(slot)
        return JSONResponse({"sid": slot.job_id})

    async def poll(http: HttpRequest) -> Response:
        job_id = validate(await json_body(http), "Poll")["sid"]
        text = await finished(http, job_id) if isinstance(job_id, str) else None
        return AsciiJSONResponse({"responds": NOT_READY if text is None else text})

    async def finished(http: HttpRequest, job_id: str) -> str | None:
        """Return the prompt and the text of a job, or None if it does not end within `WAIT` seconds."""
        try:
            text = await delivery.queue.text(job_id)
        except NoSuchJob:
            return None
        try:
            slot = delivery.acquire(http, job_id)
        except Refused:
            return None
        try:
            await delivery.queue.join(job_id)  # without a time limit: redis-py may swallow a cancellation
            async with asyncio.timeout(WAIT), aclosing(text.follow(0)) as updates:
                update = await merge(updates)
        except TimeoutError:
            return None
        else:
            if update.reason == "closing":  # another server may continue the text
                return None
            return text.request.prime + update.text + (ELLIPSIS if update.reason == "length" else "")
        finally:
            await delivery.close(slot)

    return [Route("/api", submit, methods=["POST"]), Route("/res", poll, methods=["POST"])]
