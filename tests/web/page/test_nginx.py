"""Test the server behind nginx with its default settings."""

import shutil
import subprocess
from contextlib import contextmanager

from optional import free_port, missing
from web_helpers import LONG, Events, accepts_connections, local_queue, request, server_in_thread, wait_for

CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location /a/prefix/ {{ proxy_pass http://127.0.0.1:{server}/; }}
    }}
}}
"""


@contextmanager
def nginx(server, folder):
    """Run nginx as a proxy that maps only ``/a/prefix`` to the port `server`, and yield its own port."""
    program, port = shutil.which("nginx") or missing("nginx"), free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, server=server))
    with subprocess.Popen([program, "-p", folder, "-c", "nginx.conf", "-e", "error.log"]) as child:
        try:
            wait_for(lambda: accepts_connections(port))
            yield port
        finally:
            child.terminate()


def test_text_is_streamed_through_nginx(model, tmp_path):
    """nginx buffers 4 KiB of a response, about 50 events, unless the response forbids it."""
    queue = local_queue({"toy": model}, pace=200)
    with server_in_thread(queue) as server, nginx(server, tmp_path) as port:
        for name in ("", "page.js", "page.css", "api/models"):
            with request(port, "GET", f"/a/prefix/{name}") as response:
                assert response.status == 200
        with request(port, "POST", "/a/prefix/api/generate", LONG) as response:
            events = Events(response)
            text = queue.texts[events.until("begin")[2]["job"]]
            for _ in range(5):
                events.until("text")
                assert text.end - len(events.text) < 60


def test_page_works_below_a_prefix_with_and_without_javascript(visit, browser, port, tmp_path):
    from page_helpers import expect, expect_status, text_of

    with nginx(port, tmp_path) as proxy:
        page = visit(proxy, "a/prefix/")
        expect_status(page)
        with browser.new_context(java_script_enabled=False) as context:
            page, prime = context.new_page(), "山<script>a</script>"
            page.goto(f"http://127.0.0.1:{proxy}/a/prefix/")
            assert page.locator("form:visible").bounding_box()["width"] > 600
            for _ in range(2):  # the form of the first page, and the form below a text
                page.fill("[name=prime] >> visible=true", prime)
                assert page.locator("button:visible").all_text_contents() == ["Generate 生成"]
                page.locator("button:visible").click()
                expect(page.locator("#text .prime")).to_have_text(prime)
                assert len(text_of(page)) == 500
            assert page.locator("#text").bounding_box()["width"] > 600
            assert page.locator("script").count() == 0
            assert page.locator("[name=model] option").all_text_contents() == ["LSTM 2×12", "LSTM 2×5"]
            page.select_option("[name=model]", "other")
            page.fill("[name=prime]", "")
            page.locator("button:visible").click()
            expect(page.locator("#text .prime")).to_be_empty()
            assert set(text_of(page)) <= set("\n abc")
