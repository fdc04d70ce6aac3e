"""Helpers for web tests: an HTTP client, a server in a thread and a Redis server."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec

import pytest
from optional import missing

PACKAGES = ("flask", "waitress", "jsonschema", "prometheus_client", "threadpoolctl", "redis", "dramatiq")
CHARACTERS = "".join(sorted("\n ,.</>abcdeghilmnoprst一中夜山雨。"))
TIMEOUT = 30
LONG = {"length": 20000, "seed": 5}
"""Request for a text that takes seconds to generate."""


def wait_for(condition, seconds=TIMEOUT):
    """Poll a condition until it is true and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)
    return value


absent = [name for name in PACKAGES if find_spec(name) is None]
if absent and "CI" not in os.environ:
    pytest.skip(f"requires minichar[web]: no {', '.join(absent)}", allow_module_level=True)


@contextmanager
def redis_server(port, folder):
    """Run a Redis server for the tests."""
    program = shutil.which("redis-server") or missing("redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with open(folder / "redis.log", "w") as log, subprocess.Popen(command, stdout=log) as child:
        try:
            wait_for(lambda: accepts_connections(port))
            yield child
        finally:
            child.terminate()


def accepts_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def server_in_thread(queue, port=0, per_client=0, proxy=None, keys=(), streams=12):
    """Serve a job queue in a thread of this process and yield the port."""
    from minichar.web.app import create_app
    from minichar.web.server import listen

    app = create_app(queue, per_client, keys, total=streams)
    server = listen(app, "127.0.0.1", port, streams, proxy)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        queue.close()
        server.stopping = True
        server.pull_trigger()  # wakes the thread, which may still be sending
        thread.join(20)
        assert not thread.is_alive()
        server.stop()


class Events:
    """Iterator over the server-sent events in a response."""

    def __init__(self, response):
        self.response, self.text, self.details, self.all = response, "", [], []

    def __iter__(self):
        fields = {}
        for line in self.response:
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield self.add(fields)
                fields = {}

    def add(self, fields):
        name, number, data = fields["event"], int(fields["id"]), json.loads(fields["data"])
        if name == "text":
            self.text += data["text"]
            self.details += data.get("details", [])
        self.all.append((name, number, data))
        return self.all[-1]

    def until(self, wanted):
        """Read up to the next event named `wanted`, and return it."""
        return next(event for event in self if event[0] == wanted)

    def rest(self):
        """Read all remaining events and return self."""
        for _ in self:
            pass
        return self


def validate(value, schema):
    """Validate a value against a schema that may contain references."""
    from jsonschema import Draft202012Validator

    from minichar.web.request import OPENAPI

    Draft202012Validator(schema | {"components": OPENAPI["components"]}).validate(value)


def events_of(response):
    """Return the server-sent events in a response."""
    return Events(response.data.splitlines(keepends=True)).rest()


@contextmanager
def request(port, method, path, data=None, **headers):
    """Send a request and yield the response without reading its body."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT)
    try:
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def text_of(job, after=0):
    """Return the text of a job after some characters, and why the job ended."""
    updates = [update for update in job.follow(after) if update is not None]
    assert [update.reason for update in updates[:-1]] == [None] * (len(updates) - 1)
    return "".join(update.text for update in updates), updates[-1].reason
