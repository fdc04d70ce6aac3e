import gc
import re
import threading
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request

import pytest

import minichar.text.download as download_module
from minichar.errors import MinicharError
from minichar.text.download import download


@pytest.fixture
def server(monkeypatch):
    """Run a local web server. `answers` maps paths to handlers, and `asked` lists the requested paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answers[unquote(self.path)](self)

        def log_message(self, *args):
            pass

    answers, asked, closing = {}, [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *args: None
        running.answers, running.asked, running.closing = answers, asked, closing
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running
        closing.set()
        running.shutdown()
        thread.join()


def sends(content, announced=None, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        if announced != "nothing":
            handler.send_header("Content-Length", str(announced or len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def error_of(server, path="file", limit=1000):
    with pytest.raises(MinicharError) as caught:
        download(server.url, [path], limit)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 300
    assert f"{server.url}/{path}" in line
    return line


def test_files_are_returned_in_order_with_progress(server, monkeypatch):
    monkeypatch.setattr(download_module, "BLOCK", 4)
    server.answers |= {"/a": sends(b"first"), "/全唐诗/b": sends(b"second", announced="nothing")}
    sizes = []
    assert download(server.url, ["a", "全唐诗/b"], 11, sizes.append) == [b"first", b"second"]
    assert server.asked == ["/a", "/%E5%85%A8%E5%94%90%E8%AF%97/b"]
    assert sizes == [4, 1, 4, 2]
    with pytest.raises(MinicharError, match="the server sent more than the expected 5 bytes"):
        download(server.url, ["a", "全唐诗/b"], 10)
    server.url = "http://127.0.0.1:1"
    assert "refused" in error_of(server)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/file", ": HTTP Error 302: too many redirects: Found$"),
        ("file:///etc/hostname", "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("ftp://127.0.0.1/x", "redirected to ftp://127.0.0.1/x"),
        ("https://127.0.0.1:1/x", "redirected to https://127.0.0.1:1/x"),
        ("//[", "Invalid IPv6 URL"),
    ],
)
def test_redirects_within_the_scheme_are_followed(server, target, words):
    server.answers["/file"] = sends(b"", status=302, Location=target)
    assert re.search(words, error_of(server))
    gc.collect()  # urllib leaves the response to "//[" open; collect it here, where the warning is ignored
    server.answers["/new"] = sends(b"here")
    server.answers["/file"] = sends(b"", status=302, Location="/new")
    assert download(server.url, ["file"], 100) == [b"here"]


def status_line(text):
    return lambda handler: handler.wfile.write(f"HTTP/1.0 {text}\r\n\r\n".encode("latin-1"))


def chunked(content):
    return sends(content, announced="nothing", **{"Transfer-Encoding": "chunked"})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sends(b"no", status=404), "404: Not Found"),
        (status_line("404 \x1b[2J\x9b" + "x" * 1000), r"404: \x1b[2J\x9bxxx"),
        (sends(b"half", announced=8), "the connection was closed early"),
        (chunked(b"8\r\nhalf"), "IncompleteRead"),
        (lambda handler: handler.connection.close(), "check the network, or try again later"),
    ],
    ids=["missing file", "reason", "truncated body", "truncated chunk", "closed connection"],
)
def test_a_failed_download_is_a_one_line_error(server, answer, message):
    server.answers["/file"] = answer
    assert message in error_of(server)


@pytest.mark.parametrize("announced", ["nothing", 1 << 40])
def test_an_endless_body_is_rejected(server, announced):
    def endless(handler):
        sends(b"", announced)(handler)
        while not server.closing.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answers["/file"] = endless
    assert "more than the expected 1,000 bytes" in error_of(server)


def test_a_stalled_server_times_out(server, monkeypatch):
    def stall(handler):
        sends(b"some", announced=100)(handler)
        server.closing.wait()

    monkeypatch.setattr(download_module, "TIMEOUT", 0.1)
    server.answers["/file"] = stall
    assert "timed out" in error_of(server)
    server.answers["/file"] = lambda handler: server.closing.wait()
    assert "timed out" in error_of(server)


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "ftp://localhost/a", "file://localhost/a", "file:///etc", "example.org"],
)
def test_only_https_or_http_on_the_local_machine_is_allowed(url):
    with pytest.raises(MinicharError, match="use an https URL"):
        download(url, ["x"], 10)
    assert download("https://example.org", [], 0) == []


def test_a_redirect_from_https_to_http_is_rejected():
    """Call the redirect handler directly because the test server does not support HTTPS."""
    handler, request = download_module._SameScheme("https"), Request("https://example.org/file")
    with pytest.raises(HTTPError, match=r"redirected to http://example\.org/file, which is not https"):
        handler.redirect_request(request, None, 302, "Found", HTTPMessage(), "http://example.org/file")
