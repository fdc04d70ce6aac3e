"""What visitors of the web demo do in tests, and a Redis of our own."""

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec

import pytest

PACKAGES = ("flask", "cheroot", "jsonschema", "prometheus_client", "threadpoolctl", "redis", "dramatiq")
CHARACTERS = "".join(sorted("\n ,.</>abcdeghilmnoprst一中夜山雨。"))
WAIT = 30


def missing(what):
    """Skip; where everything must be there, fail."""
    if "CI" in os.environ:
        pytest.fail(f"{what} must be there in CI")
    pytest.skip(f"no {what} here")


def patiently(question, seconds=WAIT):
    """Wait until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return answer


absent = [name for name in PACKAGES if find_spec(name) is None]
if absent and "CI" not in os.environ:
    pytest.skip(f"needs minichar[web]: no {', '.join(absent)}", allow_module_level=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def redis_server(port, folder):
    """A Redis of our own."""
    program = shutil.which("redis-server") or missing("redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with open(folder / "redis.log", "w") as log, subprocess.Popen(command, stdout=log) as child:
        try:
            patiently(lambda: answers(port))
            yield child
        finally:
            child.terminate()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Events:
    """The events of a response, as they come."""

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
                yield self.take(fields)
                fields = {}

    def take(self, fields):
        name, number, data = fields["event"], int(fields["id"]), json.loads(fields["data"])
        if name == "text":
            self.text += data["text"]
            self.details += data.get("details", [])
        self.all.append((name, number, data))
        return self.all[-1]

    def until(self, wanted):
        """Read on to the next event of this name."""
        return next(event for event in self if event[0] == wanted)

    def rest(self):
        """Read to the end."""
        for _ in self:
            pass
        return self


@contextmanager
def asked(port, method, path, data=None, **headers):
    """Send a request to a server and return the response, not yet read."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=WAIT)
    try:
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body, headers)
        yield connection.getresponse()
    finally:
        connection.close()
