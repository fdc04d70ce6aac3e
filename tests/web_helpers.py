"""Helpers for web tests: an HTTP client, servers and workers in threads, and a Redis server."""

import asyncio
import inspect
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from functools import cached_property, partialmethod
from http.client import HTTPConnection
from importlib.util import find_spec

import numpy as np
import pytest
from optional import missing

PACKAGES = ("starlette", "uvicorn", "h11", "jsonschema", "prometheus_client", "threadpoolctl", "redis")
dumps = json.dumps
CHARACTERS = "".join(sorted("\n ,.</>abcdeghilmnoprst一中夜山雨。"))
TIMEOUT = 30
LONG = {"length": 20000, "seed": 5}
"""Request for a text that takes at least 20 seconds to generate at the helpers' pace."""
MEMORY = 2**26
"""Memory for texts, in bytes."""


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


from jsonschema import Draft202012Validator  # noqa: E402

from minichar.web.access import Access  # noqa: E402
from minichar.web.app import create_app  # noqa: E402
from minichar.web.details import Details, pack  # noqa: E402
from minichar.web.models import describe  # noqa: E402
from minichar.web.processes import ProcessQueue  # noqa: E402
from minichar.web.queue import JobQueue  # noqa: E402
from minichar.web.request import OPENAPI  # noqa: E402
from minichar.web.server import Server, listening_socket  # noqa: E402
from minichar.web.update import Update  # noqa: E402


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


class InThread(threading.Thread):
    """Worker in a thread of this process, in place of a worker process."""

    def __init__(self, target, args, daemon):
        end, *others = args
        self.end = end.dup()
        super().__init__(target=target, args=(self.end, *others), daemon=daemon)

    def run(self):
        with self.end:
            super().run()


def local_queue(models, columns=8, queue=4, pace=1000, number=1, start=InThread):
    """Return a job queue whose worker runs in a thread of this process, unless `start` is given."""
    return ProcessQueue(models, columns, queue, pace, number, MEMORY, start)


LOOPS = {}
"""The event loop of each job queue."""


class Sync:
    """Job queue in use, whose methods are called in its event loop."""

    def __init__(self, queue):
        self.queue = queue

    def __getattr__(self, name):
        value = getattr(self.queue, name)
        return (lambda *given: self.wait(value(*given))) if inspect.iscoroutinefunction(value) else value

    def wait(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, LOOPS[self.queue]).result(TIMEOUT)

    def follow(self, job_id, after=0):
        """Yield the updates of a job."""
        updates = self.queue.follow(job_id, after)
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self.wait(anext(updates))
        finally:
            self.wait(updates.aclose())


@contextmanager
def loop_of(queue):
    """Use a job queue without a server."""
    loop = LOOPS[queue] = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    used = Sync(queue)
    try:
        used.start()
        yield used
        used.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        loop.close()


@contextmanager
def server_in_thread(queue, port=0, per_client=0, proxy=None, keys=(), streams=12, hosts=(), metrics=None):
    """Serve a job queue in a thread of this process and yield the port."""
    ready, started = threading.Event(), []

    def on_ready(address):
        LOOPS[queue] = asyncio.get_running_loop()
        started.append(int(address.rstrip("/").rpartition(":")[2]))
        ready.set()

    trusted = [ipaddress.ip_network(proxy)] if proxy else []
    app = create_app(queue, Access(keys, hosts, trusted, metrics), per_client, streams)
    ports = [port] if metrics is None else [port, metrics]
    server = Server(app, queue, on_ready)
    thread = threading.Thread(target=server.run, args=([listening_socket("127.0.0.1", p) for p in ports],))
    thread.start()
    try:
        assert ready.wait(TIMEOUT)
        yield started[0]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


class Response:
    """Response whose body is read when it is needed."""

    def __init__(self, connection, response):
        self.connection, self.raw = connection, response
        self.status_code, self.headers = response.status, response.headers
        self.mimetype = response.headers.get_content_type() if "Content-Type" in response.headers else ""

    @cached_property
    def data(self):
        with self:
            return self.raw.read()

    @property
    def text(self):
        return self.data.decode()

    @property
    def json(self):
        return json.loads(self.data)

    def event(self):
        """Read one server-sent event, or comment, without the empty line after it."""
        lines = []
        while (line := self.raw.readline().decode()) not in ("\n", ""):
            lines.append(line)
        return "".join(lines)

    def close(self):
        self.raw.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client:
    """HTTP client. Each request has its own connection."""

    def __init__(self, port):
        self.port, self.responses = port, []

    def open(self, path, method="GET", json=None, data=None, content_type=None, headers=()):
        headers = dict(headers)
        if json is not None:
            data, content_type = dumps(json), "application/json"
        if content_type:
            headers["Content-Type"] = content_type
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        connection.connect()
        # A client that does not read must not receive a whole text.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        body = data.encode() if isinstance(data, str) else data
        connection.request(method, path, body, {k: v.encode() for k, v in headers.items()})
        response = Response(connection, connection.getresponse())
        self.responses.append(response)
        return response

    get = open
    post = partialmethod(open, method="POST")
    delete = partialmethod(open, method="DELETE")

    def close(self):
        for response in self.responses:
            response.close()


@contextmanager
def client_of(queue, **options):
    """Serve a job queue and yield a client."""
    with server_in_thread(queue, **{"streams": 1000} | options) as port, closing(Client(port)) as client:
        yield client


def following(*updates):
    """Return a replacement for a job queue's `follow`."""

    async def follow(job_id, after):
        for update in updates:
            if isinstance(update, Exception):
                raise update
            yield update

    return follow


class InstantQueue(JobQueue):
    """Job queue whose texts, of the letter a, are complete at once."""

    def __init__(self, model):
        super().__init__(queue=0, memory=MEMORY)
        self.infos = [describe("toy", model)]

    async def models(self):
        return self.infos

    async def _columns(self, model):
        return 1

    async def _give(self, job_id, text):
        n = text.request.length
        rows = pack(np.full((9, n), 1 / 9), np.zeros(n, int), np.arange(97, 106))
        text.add(Update("a" * n, Details(b"".join(rows) if text.request.alternatives else b""), n, "length"))

    async def _unfinished(self, *arguments):
        return 0

    job_counts = _waiting = _find = _cancel = _abandon = _unfinished


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
    Draft202012Validator(schema | {"components": OPENAPI["components"]}).validate(value)


def events_of(response):
    """Return the server-sent events in a response."""
    data = response.encode() if isinstance(response, str) else response.data
    lines = (data + b"\n").splitlines(keepends=True)  # `Response.event` removes the empty line at the end
    return Events(lines).rest()


@contextmanager
def request(port, method, path, data=None, **headers):
    """Send a request and yield the response without reading its body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with Client(int(port)).open(path, method, json=data, headers=headers) as response:
        yield response.raw


def run_job(scheduler, job):
    """Run a job, and return its text, its packed details, and the update that ends it."""
    scheduler.submit(job)
    return read(job)


def read(job):
    """Read a job to its end as a worker does."""
    text, packed = "", b""
    while True:
        update = wait_for(job.news)
        job.take(update)
        text, packed = text + update.text, packed + update.details.packed
        if update.reason:
            return text, packed, update
