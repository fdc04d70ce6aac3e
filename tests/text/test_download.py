import gc
import hashlib
import re
import threading
import urllib.error
import urllib.request
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

import minichar.text.download as download_module
from minichar.errors import MinicharError
from minichar.text.datasets import DATASETS, Dataset, fetch
from minichar.text.download import download


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine: `answers` says what it does for each path, asked for in `asked`."""

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


def complaint(server, path="file", limit=1000):
    with pytest.raises(MinicharError) as caught:
        download(server.url, [path], limit)
    line = str(caught.value)
    assert "\n" not in line
    assert f"{server.url}/{path}" in line
    return line


def test_files_arrive_in_order_and_count_as_progress(server, monkeypatch):
    monkeypatch.setattr(download_module, "BLOCK", 4)
    server.answers |= {"/a": sends(b"first"), "/全唐诗/b": sends(b"second", announced="nothing")}
    sizes = []
    assert download(server.url, ["a", "全唐诗/b"], 11, sizes.append) == [b"first", b"second"]
    assert server.asked == ["/a", "/%E5%85%A8%E5%94%90%E8%AF%97/b"]
    assert sizes == [4, 1, 4, 2]


def test_a_redirect_within_the_scheme_is_followed(server):
    server.answers["/old"] = sends(b"", status=302, Location="/new")
    server.answers["/new"] = sends(b"here")
    assert download(server.url, ["old"], 100) == [b"here"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "https://127.0.0.1:1/x"])
def test_a_redirect_to_another_scheme_is_refused(server, target):
    server.answers["/file"] = sends(b"", status=302, Location=target)
    assert re.search(
        f"redirected to {target}|Redirection to url '{target}' is not allowed", complaint(server)
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_redirect_to_nonsense_is_refused(server):
    server.answers["/file"] = sends(b"", status=302, Location="//[")
    assert "Invalid IPv6 URL" in complaint(server)
    gc.collect()  # here, where it is expected: urllib leaves this one response open


def test_a_file_that_is_not_there(server):
    server.answers["/file"] = sends(b"no", status=404)
    assert "404: Not Found" in complaint(server)


def test_a_body_cut_short(server):
    server.answers["/file"] = sends(b"half", announced=8)
    assert "the connection broke" in complaint(server)


def test_a_broken_chunk(server):
    chunked = {"Transfer-Encoding": "chunked"}
    server.answers["/file"] = sends(b"8\r\nhalf", announced="nothing", **chunked)
    assert "IncompleteRead" in complaint(server)


@pytest.mark.parametrize("announced", ["nothing", 1 << 40])
def test_an_endless_body_is_cut_off(server, announced):
    def endless(handler):
        sends(b"", announced)(handler)
        while not server.closing.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answers["/file"] = endless
    assert "more than the 1,000 bytes" in complaint(server)


def test_the_limit_is_for_all_files_together(server):
    server.answers |= {"/a": sends(b"x" * 600), "/b": sends(b"x" * 401)}
    with pytest.raises(MinicharError, match="/b: it sends more than the 400 bytes"):
        download(server.url, ["a", "b"], 1000)
    assert len(download(server.url, ["a", "b"], 1001)) == 2


def test_a_server_that_stalls_is_given_up(server, monkeypatch):
    def stall(handler):
        sends(b"some", announced=100)(handler)
        server.closing.wait()

    monkeypatch.setattr(download_module, "TIMEOUT", 0.1)
    server.answers["/file"] = stall
    assert "timed out" in complaint(server)
    server.answers["/file"] = lambda handler: server.closing.wait()
    assert "timed out" in complaint(server)


def test_a_server_that_hangs_up(server):
    server.answers["/file"] = lambda handler: handler.connection.close()
    complaint(server)


def test_no_server_at_all(server):
    server.url = "http://127.0.0.1:1"
    assert "refused" in complaint(server)


def test_https_may_go_anywhere():
    assert download("https://example.org", [], 0) == []


@pytest.mark.parametrize("url", ["http://example.org", "ftp://example.org", "file:///etc", "example.org"])
def test_only_https_is_safe(url):
    with pytest.raises(MinicharError, match="only https is safe"):
        download(url, ["x"], 10)


def test_from_https_to_http_is_refused():
    """Asked of the handler itself, since no server here speaks https."""
    handler = download_module._SameScheme("https")
    request = urllib.request.Request("https://example.org/file")
    arguments = (request, None, 302, "Found", HTTPMessage())
    with pytest.raises(
        urllib.error.HTTPError, match=r"redirected to http://example\.org/file, which is not https"
    ):
        handler.redirect_request(*arguments, "http://example.org/file")
    assert (
        handler.redirect_request(*arguments, "https://example.org/new").full_url == "https://example.org/new"
    )


@pytest.mark.parametrize("url", ["ftp://localhost/a", "file://localhost/a", "http://example.org"])
def test_only_https_or_http_on_this_machine(url):
    with pytest.raises(MinicharError, match="only https is safe"):
        download(url, ["a"], 10)


@pytest.mark.parametrize(
    ("content", "announced", "words"),
    [
        (b"the right text", None, None),
        (b"the wrong text", None, "SHA-256 differs"),
        (b"the", 14, "connection broke"),
    ],
)
def test_a_data_set_from_a_server_to_its_place(server, monkeypatch, tmp_path, content, announced, words):
    """All the way: HTTP, checksum, file; and nothing at all is left behind by what fails."""
    toy = Dataset(
        name="toy",
        description="a toy",
        language="English",
        source="here",
        licence="none",
        characters=14,
        make=lambda sources: sources[0].decode(),
        files=("a b/text.txt",),
        download_bytes=14,
        sha256=hashlib.sha256(b"the right text").hexdigest(),
    )
    monkeypatch.setitem(DATASETS, "toy", toy)
    server.answers["/a b/text.txt"] = sends(content, announced)
    if words is None:
        assert fetch("toy", tmp_path, base_url=server.url).read_bytes() == content
    else:
        with pytest.raises(MinicharError, match=words):
            fetch("toy", tmp_path, base_url=server.url)
        assert not list(tmp_path.iterdir())
