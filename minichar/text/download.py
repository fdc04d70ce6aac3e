"""Fetch files over HTTPS, and give up in one line when anything is not as it should be."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPMessage
from typing import IO
from urllib.parse import quote, urlsplit

from minichar.errors import MinicharError

TIMEOUT = 30.0  # seconds without a byte before a download is given up
BLOCK = 1 << 16  # bytes read at a time
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Progress = Callable[[int], object]


def download(
    base_url: str, paths: Sequence[str], limit: int, progress: Progress | None = None
) -> list[bytes]:
    """Download files into memory.

    Parameters
    ----------
    base_url : str
        Where the paths start: https, or http if it names this very machine.
    paths : sequence of str
        Not yet percent-encoded.
    limit : int
        The most bytes to accept for all files together, whatever the server announces.
    progress : callable, optional
        Called with the number of bytes in each block that arrives.

    Raises
    ------
    MinicharError
        If `base_url` is not secure, if the server cannot be reached, refuses, stalls, breaks off,
        redirects to another scheme, or sends more than `limit` bytes.
    """
    base = urlsplit(base_url)
    if base.scheme != "https" and (base.scheme != "http" or base.hostname not in LOOPBACK):
        raise MinicharError(f"will not download from {base_url}: only https is safe")
    opener = urllib.request.build_opener(_SameScheme(base.scheme))
    opener.addheaders = [("User-Agent", "minichar")]
    contents: list[bytes] = []
    for path in paths:
        url = f"{base_url}/{quote(path)}"
        try:
            contents.append(_read(opener, url, limit - sum(map(len, contents)), progress))
        except urllib.error.HTTPError as exc:
            exc.close()
            raise MinicharError(f"cannot download {url}: {exc}") from None
        except (OSError, http.client.HTTPException, ValueError) as exc:
            reason = getattr(exc, "reason", exc)
            raise MinicharError(
                f"cannot download {url}: {reason}; check the network, or try again later"
            ) from None
    return contents


def _read(opener: urllib.request.OpenerDirector, url: str, limit: int, progress: Progress | None) -> bytes:
    content = bytearray()
    with opener.open(url, timeout=TIMEOUT) as response:
        while block := response.read(BLOCK):
            content += block
            if len(content) > limit:
                raise MinicharError(f"gave up on {url}: it sends more than the {limit:,} bytes expected")
            if progress:
                progress(len(block))
        if response.length:  # the bytes announced that never came
            raise MinicharError(f"cannot download {url}: the connection broke; try again later")
    return bytes(content)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to a URL of the same scheme: never from https to http, ftp or a file."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != self.scheme:
            message = f"redirected to {newurl}, which is not {self.scheme}"
            raise urllib.error.HTTPError(newurl, code, message, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
