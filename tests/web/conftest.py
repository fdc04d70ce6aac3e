"""Real servers, workers and a Redis, on free ports of this machine, for as long as a test needs them."""

import re
import subprocess
import sys
import threading

import pytest
from toys import ONE_THREAD, toy_model

from minichar.checkpoints.checkpoint import save


@pytest.fixture(scope="session")
def model():
    from visiting import CHARACTERS

    return toy_model(CHARACTERS, rnn_size=12, scale=14.0)


@pytest.fixture
def desk(model):
    """A desk that writes with the model, so that a long text takes some seconds."""
    from minichar.web.desk import OwnDesk

    desk = OwnDesk({"toy": model}, columns=8, queue=4, pace=5000)
    yield desk
    desk.close()


@pytest.fixture
def client(desk):
    from minichar.web.app import make_app

    return make_app(desk).test_client()


@pytest.fixture
def folder(tmp_path, model):
    """A folder with the model as its checkpoint, and another."""
    folder = tmp_path / "cv"
    folder.mkdir()
    save(folder / "lm_lstm_epoch1.00_1.2345.npz", model)
    save(folder / "lm_lstm_epoch2.00_1.3456.npz", toy_model("\n abc", rnn_size=5))
    return folder


@pytest.fixture
def start(folder):
    """Start commands as real processes; each is returned when it has said that it is ready."""
    started = []

    def start(*arguments, ready):
        command = [sys.executable, "-m", "minichar", *map(str, arguments)]
        child = subprocess.Popen(
            command, stderr=subprocess.PIPE, encoding="utf-8", env=ONE_THREAD, cwd=folder.parent
        )
        started.append(child)
        child.said = ""
        for line in child.stderr:
            child.said += line
            if found := re.search(ready, line):
                child.found = found
                break
        else:
            pytest.fail(f"it ended with {child.wait()}: {child.said}")

        def listen():
            for line in child.stderr:
                child.said += line

        child.listener = threading.Thread(target=listen)
        child.listener.start()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.listener.join()
        child.stderr.close()


@pytest.fixture
def serve(start):
    """Start a server; its port is ``found[1]``."""
    return lambda *arguments, port=0: start(
        "serve", "--port", port, *arguments, ready=r"serving at http://127\.0\.0\.1:(\d+)/"
    )


@pytest.fixture
def work(start, redis_url):
    """Start a worker."""
    return lambda *arguments: start("worker", "--redis", redis_url, *arguments, ready="ready for work")


@pytest.fixture(scope="session")
def redis_of_all(tmp_path_factory):
    from visiting import free_port, redis_server

    port = free_port()
    with redis_server(port, tmp_path_factory.mktemp("redis")):
        yield port


@pytest.fixture
def redis_url(redis_of_all):
    """The address of an empty Redis."""
    redis = pytest.importorskip("redis")
    url = f"redis://127.0.0.1:{redis_of_all}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url
