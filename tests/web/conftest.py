"""Fixtures that start servers, workers and Redis on free local ports, and stop them after each test."""

import json
import re
import subprocess
import sys
import threading

import pytest
from toys import ONE_THREAD, toy_model

from minichar.checkpoints.checkpoint import save
from minichar.sampling.generate import Generation, generate

FAST_FAILOVER = (
    "from minichar.web import redis_link; redis_link.HEARTBEAT_TIMEOUT = 1.0; "
    "from minichar.web import worker; worker.HEARTBEAT_INTERVAL = 0.2; "
    "from minichar.cli import main; main()"
)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def model():
    from web_helpers import CHARACTERS

    return toy_model(CHARACTERS, rnn_size=12, scale=14.0)


@pytest.fixture(scope="session")
def sampled(model):
    """Return a function that generates text as `minichar sample --exact` does."""

    def sampled(n, prime="", seed=5, stop=("\n" * 5,), model=model, **choice):
        return "".join(
            generate(model.exact(), Generation(length=n, prime=prime, seed=seed, stop=stop, **choice))
        )

    return sampled


@pytest.fixture
def scheduler(model):
    """Return a function that starts a scheduler, which is closed after the test."""
    from minichar.web.scheduler import Scheduler

    made = []

    def scheduler(pace=0.0, model=model, on_news=lambda: None):
        made.append(Scheduler(model, pace, on_news))
        return made[-1]

    yield scheduler
    for one in made:
        one.close()


@pytest.fixture
def job_of(model):
    """Return a function that creates a job from the fields of a request."""
    from minichar.web.job import Job
    from minichar.web.request import Request

    def job_of(model=model, known="", **data):
        request = Request.from_json({"seed": 5, "stop": []} | data)
        return Job(request, request.stream(model.vocabulary, known=known), request.start + len(known))

    return job_of


@pytest.fixture
def queue(model):
    """Job queue, which is started by the first server."""
    from web_helpers import local_queue

    return local_queue({"toy": model}, pace=5000)


@pytest.fixture(scope="module")
def client(model):
    """HTTP client of a server that the tests of a module share."""
    from web_helpers import client_of, local_queue

    with client_of(local_queue({"toy": model}, pace=5000)) as client:
        yield client


@pytest.fixture
def send(client):
    """Return a function that sends a request and checks the response against the OpenAPI document."""
    from web_helpers import events_of, validate

    from minichar.web.guard import HEADERS
    from minichar.web.request import OPENAPI

    def send(method, path, value=None, route=None, **options):
        if value is not None:
            options |= {"data": json.dumps(value), "content_type": "application/json"}
        response = client.open(path, method=method, **options)
        responses = OPENAPI["paths"][route or path][method.lower()]["responses"]
        assert str(response.status_code) in responses, response.text
        described = responses[str(response.status_code)]
        if "$ref" in described:
            described = OPENAPI["components"]["responses"][described["$ref"].rpartition("/")[2]]
        for name, header in described.get("headers", {}).items():
            validate(int(response.headers[name]), header["schema"])
        types = described.get("content", {})
        assert (response.mimetype in types) if types else not response.data
        if response.mimetype == "application/json":
            validate(response.json, types["application/json"]["schema"])
        if response.mimetype == "text/event-stream":
            for name, _, data in events_of(response).all if path.startswith("/api/") else ():
                validate(data, {"$ref": f"#/components/schemas/{name.capitalize()}"})
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        return response

    return send


@pytest.fixture
def folder(tmp_path, model):
    """Directory with checkpoints of two runs; the better one contains `model`."""
    folder = tmp_path / "cv"
    folder.mkdir()
    other = toy_model("\n abc", rnn_size=5)
    other.details["run"] = {"id": "other", "iteration": 1, "saved": 1.0}
    save(folder / "lm_lstm_epoch1.00_1.2345.npz", model)
    save(folder / "lm_lstm_epoch2.00_1.3456.npz", other)
    return folder


@pytest.fixture
def start(folder):
    """Return a function that starts a command in a subprocess and waits for a line that matches `ready`."""
    children = []

    def start(*arguments, ready, python=("-m", "minichar")):
        child = subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=ONE_THREAD,
            cwd=folder.parent,
        )
        children.append(child)
        child.output = ""
        for line in child.stderr:
            child.output += line
            if found := re.search(ready, line):
                child.found = found
                break
        else:
            pytest.fail(f"exited with {child.wait()}: {child.output}")

        def read():
            for line in child.stderr:
                child.output += line

        child.reader = threading.Thread(target=read)
        child.reader.start()
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.reader.join()
        child.stderr.close()


@pytest.fixture
def serve(start):
    """Return a function that starts `minichar serve`. ``found[1]`` of the returned process is the port."""
    return lambda *arguments, port=0: start(
        "serve", "--port", port, *arguments, ready=r"serving at http://127\.0\.0\.1:(\d+)/"
    )


@pytest.fixture
def work(start, redis_url):
    """Return a function that starts `minichar worker` with a short heartbeat timeout."""
    return lambda *arguments, url=redis_url: start(
        "worker", "--redis", url, *arguments, ready="waiting for requests", python=("-c", FAST_FAILOVER)
    )


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory):
    from optional import free_port
    from web_helpers import redis_server

    port = free_port()
    with redis_server(port, tmp_path_factory.mktemp("redis")):
        yield port


@pytest.fixture
def redis_url(redis_port):
    """URL of an empty Redis database."""
    redis = pytest.importorskip("redis")
    url = f"redis://127.0.0.1:{redis_port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url
