"""Test ``minichar serve`` and ``minichar worker``, in subprocesses where necessary."""

import json
import re
import shlex
import signal
import socket
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from optional import free_port
from web_helpers import LONG, TIMEOUT, request

from minichar import MinicharError
from minichar.cli import main
from minichar.web import server

MAIN = "from minichar.cli import main; main()"


@pytest.fixture
def command(folder, monkeypatch):
    """Return a function that runs a command in this process, in the parent directory of ``cv/``."""
    monkeypatch.chdir(folder.parent)
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])


def test_serve_and_ctrl_c(serve, folder, command):
    """The texts are those of `minichar sample --exact`. Ctrl-C ends streams."""
    best, other = sorted(folder.iterdir())
    child = serve(best, other, "--log-level", "info")
    port = child.found[1]
    with request(port, "GET", "/api/models") as response:
        names = [model["name"] for model in json.load(response)["models"]]
    assert [name.rpartition("-")[0] for name in names] == [best.stem, other.stem]
    data = {"prime": "山中", "length": 400, "seed": 9, "temperature": 0.6, "top_p": 0.9, "stream": False}
    with request(port, "POST", "/api/generate", data) as response:
        text = json.load(response)["text"]
    options = ["--seed", 9, "--temperature", 0.6, "--top-p", 0.9, "--length", 400]
    result = command("sample", best, "--exact", "--primetext", "山中", *options, "--device", "cpu", "--quiet")
    assert result.stdout == f"山中{text}\n"
    with request(port, "POST", "/api/generate", LONG) as response:
        assert response.readline()
        child.send_signal(signal.SIGINT)
        assert b'"reason": "closing"' in response.read()
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert child.output.endswith("stopped\n")
    assert "Traceback" not in child.output
    assert re.search(r"\d\d:\d\d:\d\d,\d\d\d INFO 127.0.0.1 GET /api/models 200 \d+ bytes", child.output)


UNUSABLE = {
    "serve --port 0 nowhere.npz": "nowhere.npz",
    "serve --port 0 .": "no checkpoint in ./",
    "serve --port 0 --redis http://:secret@x": "invalid Redis URL: it must have the form",
    "worker --redis x": "invalid Redis URL",
    "serve no.npz --api-key-file none": "cannot read none: No such file or directory",
    "serve --api-key-file cv": "cannot read cv: Is a directory",
}
INVALID = {
    "worker": "--redis",
    "serve --port 99999": "--port",
    "serve --pace -1": "--pace",
    "serve cv --redis redis://127.0.0.1:1/0": "--redis cannot be combined with CHECKPOINT",
    "serve --host ''": "use 0.0.0.0 (IPv4) or :: (IPv6)",
    "serve no.npz --allow-host ''": "Invalid value for '--allow-host': '' is not a host name",
}
for name in ("demo.example:80", "https://demo.example", "a.example,b.example", "*.example", "例.example"):
    INVALID[f"serve no.npz --allow-host {name}"] = (
        f"'--allow-host': {name} is not a host name such as demo.example"
    )
for address in ("localhost", "10.0.0.0/33"):
    INVALID[f"serve no.npz --trusted-proxy {address}"] = f"'--trusted-proxy': {address} is not an IP address"


@pytest.mark.parametrize("line", UNUSABLE | INVALID)
def test_errors_are_one_line(command, line):
    result = command(*shlex.split(line))
    assert result.exit_code == (2 if line in INVALID else 1)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert (UNUSABLE | INVALID)[line] in last


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_port_in_use(command, option):
    """The error comes before any model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("serve", "--port", 0, option, port)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        f"choose another {option} or --host\n"
    )


def test_public_address_warning(command, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *arguments: arguments[3]("http://there/"))
    monkeypatch.setattr(server, "listening_socket", lambda *address: nullcontext())
    shown = command("serve", "--host", "0.0.0.0").stderr
    assert "warning: anyone who can reach 0.0.0.0 can use" in shown
    assert shown.endswith("serving at http://there/ (press Ctrl-C to stop)\nstopped\n")
    assert "warning" not in command("serve").stderr


def test_options_reach_the_server(command, monkeypatch, folder):
    """The limit on streams allows for several readers of each job."""
    found = []
    monkeypatch.setattr("minichar.web.app.create_app", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(server, "serve", lambda *arguments: found.append(arguments[2]))
    monkeypatch.setattr(server, "listening_socket", lambda *address: nullcontext(address))
    (folder.parent / "keys").write_text("one\ntwo\n")
    proxies = [f"--trusted-proxy={address}" for address in ("0:0::9", "10.0.0.1/8")]
    limits = ["--queue", 700, "--workers", 2, "--memory", 3, "--per-client", 4, "--metrics-port", 9]
    limits += ["--allow-host", "demo.example", "--api-key-file", "keys", *proxies]
    for options in (["--queue", 0], ["cv", *limits]):
        result = command("serve", *options)
        assert result.exit_code == 0
    (_, _, _, default), (first,), (queue, access, per_client, streams), (_, metrics) = found
    assert (default, streams, per_client, access.metrics_port) == (600, 956, 4, 9)
    assert (first, metrics) == (("127.0.0.1", 8080), ("127.0.0.1", 9, "--metrics-port"))
    assert [*map(str, access.trusted)] == ["::9/128", "10.0.0.0/8"]
    assert ([*access.hosts], [*access.keys]) == (["demo.example"], ["one", "two"])
    assert (queue._number, queue._per_worker, queue.texts.memory) == (2, 128, 3 * 2**20)
    listed = [line.partition("-")[0] for line in result.stderr.splitlines()[:2]]
    assert listed == [path.stem for path in sorted(folder.iterdir())]  # the best one first


REFUSED = r"Redis: Error .*connecting to 127\.0\.0\.1:1\..*[^.]; trying again"


def test_serve_waits_for_redis(serve):
    """It says why, but not with which password."""
    child = serve("--redis", "redis://:secret@127.0.0.1:1/0")
    assert re.search(REFUSED, child.output)
    assert "other users can see a password in --redis" in child.output
    with request(child.found[1], "GET", "/") as response:
        assert response.status == 200
    with request(child.found[1], "POST", "/api/generate", {}) as response:
        assert response.status == 503
    child.terminate()
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert "secret" not in child.output
    assert "Traceback" not in child.output


def test_a_worker_that_is_stopped_before_it_reaches_redis(start):
    """It does not wait for running jobs, because there are none."""
    code = "from minichar.web import worker; worker.HEARTBEAT_TIMEOUT = 600; " + MAIN
    child = start("worker", "--redis", "redis://127.0.0.1:1/0", ready=REFUSED, python=("-c", code))
    child.send_signal(signal.SIGINT)
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert child.output.endswith("stopped\n")
    assert "running jobs" not in child.output
    assert "Traceback" not in child.output


def test_metrics_and_health_of_a_worker(work, folder):
    port = free_port()
    child = work("--metrics-port", port, "--log-level", "error", folder)

    def get(path):
        with request(port, "GET", path) as response:
            return response.status, response.read().decode()

    status, metrics = get("/metrics")
    assert (status, 'minichar_jobs{state="running"} 0.0' in metrics) == (200, True)
    assert "minichar_characters_total 0.0" in metrics
    assert [get(path)[0] for path in ("/healthz", "/other")] == [200, 404]
    child.terminate()
    assert child.wait(TIMEOUT) == 0


def test_an_idle_worker_without_a_heartbeat_is_unhealthy(monkeypatch):
    from minichar.web import worker as module
    from minichar.web.errors import Unavailable

    def announce(*arguments):
        if clock[0] in failing:
            raise Unavailable("Redis is not responding")

    def thread():
        """Return a thread that is alive once."""
        return SimpleNamespace(is_alive=iter((True, False)).__next__)

    clock, step = [0.0], module.HEARTBEAT_TIMEOUT + 1
    failing = [2 * step]
    time = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: None)
    monkeypatch.setattr(module, "time", time)
    monkeypatch.setattr(module, "HEARTBEAT_INTERVAL", 0.0)
    link = SimpleNamespace(announce=announce, withdraw=lambda: None)
    one = module.Worker(link, {}, 1, 0.0)
    for healthy in (True, False, True):
        clock[0] += step
        one._publish([thread()])
        one._send_heartbeats(lambda: None, thread())
        assert one.healthy == healthy
    clock[0] += step
    one._send_heartbeats(lambda: None, thread())
    assert not one.healthy


def test_health_of_a_worker_that_cannot_publish(model):
    from minichar.web.metrics import monitor

    worker = SimpleNamespace(healthy=False, jobs={}, characters=0)
    port = free_port()
    server = monitor(worker, "127.0.0.1", port)
    try:
        with request(port, "GET", "/healthz") as response:
            assert response.status == 503
        with pytest.raises(MinicharError, match=f"cannot listen on 127.0.0.1 port {port}: Address already"):
            monitor(worker, "127.0.0.1", port)
    finally:
        server.shutdown()
        server.server_close()


def test_missing_package(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "minichar.web.server")
    assert command("serve").stderr == (
        'Error: the server needs uvicorn, which is not installed: pip install "minichar[web]"\n'
    )
