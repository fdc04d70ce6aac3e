"""JSON bodies of requests, and responses that are longer than a client can take at once."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from minichar.web.errors import Refused

MAX_BODY = 64 * 1024
"""Maximum size of a request body, in bytes."""
dumps = partial(json.dumps, separators=(",", ":"))


async def json_body(http: HttpRequest) -> dict[str, Any]:
    """Return the JSON object in the body of a request. Raise an error if there is none."""
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
        raise HTTPException(415, "expected a JSON body with Content-Type: application/json")
    body = bytearray()
    announced = int(http.headers.get("content-length", 0))
    if announced <= MAX_BODY:
        async for part in http.stream():
            body += part
            if len(body) > MAX_BODY:
                break
    if max(announced, len(body)) > MAX_BODY:
        message = f"the body is larger than {MAX_BODY // 1024} KiB"
        raise HTTPException(413, message, {"Connection": "close"})
    try:
        # NaN and Infinity are not valid JSON; replacing them with None makes validation fail.
        data = json.loads(bytes(body), parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise Refused("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise Refused("the body is not a JSON object")
    return data


def encode(document: Any) -> Iterator[str]:
    """Return an iterator over the parts of a document's JSON encoding.

    An iterator in the document must yield short lists, which are encoded as one long JSON array. Each short
    list is created only when its part of the JSON is requested, so the whole array is never in memory.
    """
    iterators = list[Iterator[list[Any]]]()

    def default(value: object) -> list[Any]:
        if not isinstance(value, Iterator):
            raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")
        iterators.append(value)
        return [{"": None}]

    # A string cannot contain the placeholder, because its quotation marks would be escaped.
    return _parts(dumps(document, default=default).split('{"":null}'), iterators)


def _parts(texts: list[str], iterators: list[Iterator[list[Any]]]) -> Iterator[str]:
    """Yield the texts, interleaved with the encoded lists."""
    yield texts.pop(0)
    for sections in iterators:
        comma = ""
        for encoded in map(dumps, filter(None, sections)):
            yield comma + encoded[1:-1]
            comma = ","
        yield texts.pop(0)


class PartsResponse(Response):
    """A response whose parts are generated while it is sent.

    Each part is generated when the client has received most of those before it. If the client disconnects, no
    further parts are generated. `close` is called at the end, even if the response fails.
    """

    def __init__(
        self,
        parts: AsyncGenerator[str],
        media_type: str,
        headers: Mapping[str, str],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.media_type, self.status_code, self.background = media_type, 200, None
        self.init_headers(headers)
        self._parts, self._close = parts, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        gone = asyncio.create_task(disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with aclosing(self._parts) as parts:
                    async for part in parts:
                        await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
                        await asyncio.sleep(0)  # a client that reads fast must not hold up the others
                        if gone.done():
                            return
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await self._close()


async def disconnected(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
