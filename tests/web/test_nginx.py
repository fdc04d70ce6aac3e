"""Test the server behind nginx with its default settings."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest
from optional import free_port, missing
from web_helpers import Events, accepts_connections, request, server_in_thread, wait_for

from minichar.web.queue import LocalQueue

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
        location / {{ proxy_pass http://127.0.0.1:{server}; }}
        location /a/prefix/ {{ proxy_pass http://127.0.0.1:{server}/; }}
    }}
}}
"""


@contextmanager
def nginx(server, folder):
    """Run nginx as a proxy for the server on port `server`, and yield nginx's port."""
    program, port = shutil.which("nginx") or missing("nginx"), free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, server=server))
    with subprocess.Popen([program, "-p", folder, "-c", "nginx.conf", "-e", "error.log"]) as child:
        try:
            wait_for(lambda: accepts_connections(port))
            yield port
        finally:
            child.terminate()


@pytest.mark.parametrize("prefix", ["", "/a/prefix"])
def test_text_is_streamed_through_nginx(model, tmp_path, prefix):
    """nginx buffers 4 KiB of a response, about 50 events, unless the response forbids it."""
    queue = LocalQueue({"toy": model}, columns=8, queue=4, pace=200)
    with server_in_thread(queue) as server, nginx(server, tmp_path) as port:
        for name in ("", "page.js", "page.css", "api/models"):
            with request(port, "GET", f"{prefix}/{name}") as response:
                assert response.status == 200
        with request(port, "POST", f"{prefix}/api/generate", {"length": 20000, "stop": []}) as response:
            events = Events(response)
            job = queue._jobs[events.until("begin")[2]["job"]]
            for _ in range(5):
                events.until("text")
                assert len(job.text) - len(events.text) < 60
