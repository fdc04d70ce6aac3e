"""Serve the web page's files, which are compressed once and cached by browsers."""

import gzip
from collections.abc import Awaitable, Callable
from hashlib import sha256
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

FOLDER = files("minichar.web").joinpath("page")
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def files_of(folder: Traversable) -> dict[str, Traversable]:
    """Return the file at each path. Others, such as an editor's backup copies, are not part of the page."""
    return {
        f"/{file.name}".replace("/index.html", "/"): file
        for file in folder.iterdir()
        if PurePath(file.name).suffix in TYPES
    }


PAGE = files_of(FOLDER)


def static_routes(public_url: str = "") -> list[Route]:
    """Return the routes of the page's files.

    Link previews need the absolute address of their picture, which begins with `public_url`.

    Browsers revalidate a file each time they use it, so they never mix files from different versions.
    """
    content = {path: file.read_bytes() for path, file in PAGE.items()}
    if public_url:
        preview = f"{escape(public_url.rstrip('/'))}/preview.png"
        content["/"] = content["/"].replace(b'"preview.png"', f'"{preview}"'.encode())
    return [
        Route(path, view(plain, TYPES[PurePath(PAGE[path].name).suffix])) for path, plain in content.items()
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
