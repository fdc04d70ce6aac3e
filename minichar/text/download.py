"""Download files over HTTPS. Every failure raises a `MinicharError`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from minichar.errors import MinicharError, plain

TIMEOUT = 30.0  # a download fails after this many seconds without data
BLOCK = 1 << 16  # bytes per read
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Progress = Callable[[int], object]


def download(
    base_url: str, paths: Sequence[str], limit: int, progress: Progress | None = None
) -> list[bytes]:
    """Download files into memory, and return their contents.

    The paths are relative to `base_url`, whose scheme must be https or, for the local machine, http, and are
    not percent-encoded. `progress` is called with the size of each received block in bytes. Raises a
    `MinicharError` if `base_url` is not secure, or the server is unreachable, reports an error, stalls,
    closes the connection early, redirects to another scheme, or sends more than `limit` bytes.
    """
    base = urlsplit(base_url)
    if base.scheme != "https" and (base.scheme != "http" or base.hostname not in LOOPBACK):
        raise MinicharError(f"cannot download from {base_url}: use an https URL")
    opener = build_opener(_SameScheme(base.scheme))
    opener.addheaders = [("User-Agent", "minichar")]
    contents: list[bytes] = []
    for path in paths:
        url = f"{base_url}/{quote(path)}"
        try:
            contents.append(_read(opener, url, limit - sum(map(len, contents)), progress))
        except HTTPError as exc:
            exc.close()
            raise MinicharError(f"cannot download {url}: {plain(str(exc))}") from None
        except (OSError, HTTPException, ValueError) as exc:
            reason = getattr(exc, "reason", exc)
            raise MinicharError(
                f"cannot download {url}: {plain(str(reason))}; check the network, or try again later"
            ) from None
    return contents


def _read(opener: OpenerDirector, url: str, limit: int, progress: Progress | None) -> bytes:
    content = bytearray()
    with opener.open(url, timeout=TIMEOUT) as response:
        while block := response.read(BLOCK):
            content += block
            if len(content) > limit:
                raise MinicharError(
                    f"cannot download {url}: the server sent more than the expected {limit:,} bytes; "
                    "try again later"
                )
            if progress:
                progress(len(block))
        if response.length:  # the number of missing bytes
            raise MinicharError(f"cannot download {url}: the connection was closed early; try again later")
    return bytes(content)


class _SameScheme(HTTPRedirectHandler):
    """Redirect handler that never follows redirects to a different scheme, for example from https to http."""

    inf_msg = "too many redirects: "  # the default has several lines

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != self.scheme:
            message = f"redirected to {newurl}, which is not {self.scheme}"
            raise HTTPError(newurl, code, message, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
