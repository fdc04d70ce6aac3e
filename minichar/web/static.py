"""Serve the web page's files, which are compressed once and cached by browsers."""

import gzip
from importlib.resources import files
from pathlib import PurePath

import flask

SCRIPTS = (
    "card",
    "characters",
    "examples",
    "generate",
    "keyboard",
    "language",
    "link",
    "models",
    "page",
    "pointer",
    "settings",
    "state",
    "storage",
    "stream",
    "text",
    "texts",
    "words",
)
PAGE = {"/": "index.html"} | {
    f"/{name}": name for name in ("page.css", "icon.svg", *(f"{name}.js" for name in SCRIPTS))
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def static_routes() -> flask.Blueprint:
    """Return a blueprint that serves the page's files.

    Browsers revalidate a file each time they use it, so they never mix files from different versions.
    """
    routes = flask.Blueprint("static", __name__)
    for path, name in PAGE.items():
        plain = files("minichar.web").joinpath("page", name).read_bytes()
        routes.add_url_rule(path, name.replace(".", "_"), view(plain, TYPES[PurePath(name).suffix]))
    return routes


def view(plain: bytes, kind: str) -> "flask.typing.RouteCallable":
    """Return a view function for a file with the given content and MIME type."""
    compressed = gzip.compress(plain, mtime=0)

    def send() -> flask.Response:
        small = flask.request.accept_encodings["gzip"] > 0
        response = flask.Response(compressed if small else plain, mimetype=kind)
        if small:
            response.content_encoding = "gzip"
        response.vary.add("Accept-Encoding")
        response.cache_control.no_cache = True
        response.add_etag()
        response.make_conditional(flask.request)
        return response

    return send
