"""Serve the web page's files, which are compressed once and cached by browsers."""

import gzip
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
PAGE = {
    f"/{file.name}".replace("/index.html", "/"): file
    for file in files("minichar.web").joinpath("page").iterdir()
    if PurePath(file.name).suffix in TYPES  # an editor's backup copies are not part of the page
}
"""The file at each path."""


def static_routes() -> list[Route]:
    """Return the routes of the page's files.

    Browsers revalidate a file each time they use it, so they never mix files from different versions.
    """
    return [
        Route(path, view(file.read_bytes(), TYPES[PurePath(file.name).suffix])) for path, file in PAGE.items()
    ]


def view(plain: bytes, kind: str) -> Callable[[HttpRequest], Awaitable[Response]]:
    """Return an endpoint for a file with the given content and MIME type."""
    compressed = gzip.compress(plain, mtime=0)

    async def send(http: HttpRequest) -> Response:
        small = "gzip" in http.headers.get("accept-encoding", "")
        content = compressed if small else plain
        tag = f'"{sha256(content).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if small:
            headers["Content-Encoding"] = "gzip"
        if tag in http.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return send
