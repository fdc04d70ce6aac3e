"""Test ``minichar serve`` and ``minichar worker``, in subprocesses where necessary."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from optional import free_port
from toys import ONE_THREAD
from web_helpers import LONG, TIMEOUT, Client, Events, request

from minichar import MinicharError
from minichar.cli import main
from minichar.cli.redis_server import with_password
from minichar.web import server

MAIN = "from minichar.cli import main; main()"


@pytest.fixture
def command(folder, monkeypatch):
    """Return a function that runs a command in this process, in the parent directory of ``cv/``."""
    monkeypatch.chdir(folder.parent)
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])


def run(folder, *arguments):
    """Run Python in a subprocess, in the parent directory of ``cv/``."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, env=ONE_THREAD)


def models(port):
    with request(port, "GET", "/api/models") as response:
        return [model["name"] for model in json.load(response)["models"]]


def test_serve_uses_the_best_checkpoint_and_stops_on_ctrl_c(serve, command):
    child = serve()
    port = child.found[1]
    (name,) = models(port)
    assert name.startswith("lm_lstm_epoch1.00_1.2345-")
    assert name in child.output

    data = {"prime": "山中", "length": 400, "seed": 9, "temperature": 0.6, "top_p": 0.9, "stream": False}
    with request(port, "POST", "/api/generate", data) as response:
        text = json.load(response)["text"]
    options = ["--seed", 9, "--temperature", 0.6, "--top-p", 0.9, "--length", 400]
    result = command("sample", "--exact", "--primetext", "山中", *options, "--device", "cpu", "--quiet")
    assert result.stdout == f"山中{text}\n"

    child.send_signal(signal.SIGINT)
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert child.output.endswith("stopped\n")
    assert "Traceback" not in child.output
    assert " INFO " not in child.output


def test_serve_two_models_and_end_streams_on_sigterm(serve, folder):
    best, other = sorted(folder.iterdir())
    child = serve(other, best, "--log-level", "info")
    port = child.found[1]
    assert [name.rpartition("-")[0] for name in models(port)] == [other.stem, best.stem]
    with request(port, "POST", "/api/generate", {"length": 20000}) as response:
        assert response.readline()
        child.terminate()
        assert b'"reason": "closing"' in response.read()
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert re.search(r"\d\d:\d\d:\d\d,\d\d\d INFO 127.0.0.1 GET /api/models 200 \d+ bytes", child.output)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["serve", "nowhere.npz"], 1, "nowhere.npz"),
        (["serve", "."], 1, "no checkpoint in ./"),
        (["serve", "--port", 99999], 2, "--port"),
        (["serve", "--pace", -1], 2, "--pace"),
        (
            ["serve", "cv", "--redis", "redis://127.0.0.1:1/0"],
            2,
            "--redis cannot be combined with CHECKPOINT",
        ),
        (["serve", "--redis", "http://:secret@x"], 1, "invalid Redis URL: it must have the form"),
        (["worker", "--redis", "x"], 1, "invalid Redis URL"),
        (
            ["worker", "no.npz", "--redis", "redis://x", "--redis-password-file", "none"],
            1,
            "cannot read none: No such file or directory",
        ),
        (["serve", "--host", ""], 2, "use 0.0.0.0 (IPv4) or :: (IPv6)"),
        *(
            (
                ["serve", "no.npz", "--allow-host", name],
                2,
                f"--allow-host is {name}; it must be a host name such as demo.example, without",
            )
            for name in (
                "demo.example:80",
                "https://demo.example",
                "a.example,b.example",
                "*.example",
                ".example",
                "例.example",
            )
        ),
        (["serve", "no.npz", "--allow-host", ""], 2, "--allow-host is ''; it must be"),
        *(
            (
                ["serve", "no.npz", "--trusted-proxy", address],
                2,
                f"--trusted-proxy is {address}; it must be an IP address or network",
            )
            for address in ("localhost", "*", "10.0.0.0/33")
        ),
        (["serve", "no.npz", "--api-key-file", "none"], 1, "cannot read none: No such file or directory"),
        (["serve", "--api-key-file", "cv"], 1, "cannot read cv: Is a directory"),
        (["worker"], 2, "--redis"),
    ],
    ids=str,
)
def test_errors_are_one_line(command, arguments, status, words):
    result = command(*arguments)
    assert result.exit_code == status
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert words in last


def test_port_in_use(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(folder, "-m", "minichar", "serve", "--port", port)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == (
        f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "choose another --port (0: any free port) or --host"
    )


def test_public_address_warning_and_open_option(command, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *arguments: arguments[4]("http://there/"))
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    assert "warning: anyone who can reach 0.0.0.0 can use" in command("serve", "--host", "0.0.0.0").stderr
    assert "warning" not in command("serve").stderr
    assert opened == []
    command("serve", "--open")
    assert opened == ["http://there/"]


def test_the_limits_given_as_options_apply(serve, folder):
    (folder.parent / "keys").write_text("one\ntwo\n")
    names = ("--allow-host", "demo.example", "--trusted-proxy", "127.0.0.0/8", "--api-key-file", "keys")
    client = Client(int(serve(*names, "--memory", 1, "--per-client", 1).found[1]))

    def status(key, host="demo.example"):
        headers = {"Authorization": f"Bearer {key}", "Host": host, "X-Forwarded-For": "10.0.0.1"}
        # One such text takes up most of the memory.
        fields = {"length": 20000, "alternatives": True}
        return client.post("/api/generate", json=fields, headers=headers).status_code

    found = [status(key) for key in ("one", "one", "two", "three")]
    assert [*found, status("two", host="evil.example")] == [200, 429, 503, 401, 400]
    for response in client.responses:
        response.close()


@pytest.mark.parametrize(
    ("given", "networks"),
    [("0:0::9", ["::9/128"]), ("::ffff:127.0.0.1", ["127.0.0.1/32"]), ("10.0.0.1/8", ["10.0.0.0/8"])],
)
def test_trusted_proxies(command, monkeypatch, given, networks):
    found = []
    monkeypatch.setattr(
        "minichar.web.app.create_app", lambda *arguments: found.extend(map(str, arguments[1].trusted))
    )
    monkeypatch.setattr(server, "serve", lambda *arguments: None)
    assert command("serve", "--trusted-proxy", given).exit_code == 0
    assert found == networks


def test_serve_counts_the_clients_of_a_trusted_proxy(serve):
    port = int(serve("--trusted-proxy", "127.0.0.1", "--per-client", 1).found[1])
    with ExitStack() as stack:
        for address, status in (("10.0.0.1", 200), ("10.0.0.2", 200), ("10.0.0.1", 429)):
            sent = request(port, "POST", "/api/generate", LONG, X_Forwarded_For=address)
            assert stack.enter_context(sent).status == status


@pytest.mark.parametrize(("queue", "streams"), [(0, 600), (700, 702)])
def test_the_limit_on_streams(command, monkeypatch, queue, streams):
    """Several streams may read the same job."""
    found = []
    monkeypatch.setattr("minichar.web.app.create_app", lambda *arguments: found.append(arguments[3]))
    monkeypatch.setattr(server, "serve", lambda *arguments: None)
    assert command("serve", "--columns", 2, "--queue", queue).exit_code == 0
    assert found == [streams]


def test_workers_are_started_again(serve, folder):
    """The log names no job, no text and no address."""
    child = serve("--workers", 2, "--pace", 200)
    port = child.found[1]
    with request(port, "POST", "/api/generate", LONG | {"length": 1000, "prime": "secret"}) as response:
        events = Events(response)
        job = events.until("begin")[2]["job"]
        events.until("text")
        listing = ["ps", "-ww", "--ppid", str(child.pid), "-o", "pid=,args="]
        lines = subprocess.run(listing, capture_output=True, text=True).stdout.splitlines()
        pids = [int(line.split()[0]) for line in lines if "spawn_main" in line]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert events.until("notice")[2]["what"] in ("restarted", "no_worker")
        assert events.rest().all[-1][1:] == (1000, {"reason": "length"})
    child.terminate()
    assert child.wait(TIMEOUT) == 0
    child.reader.join()
    assert child.output.count("a worker process ended; starting another one") == 2
    assert not {job, "secret", "Traceback"} & set(re.split(r"[^\w-]", child.output))


def test_serve_and_worker_wait_for_redis(serve, start):
    warning = "warning: cannot connect to Redis at redis://127.0.0.1:1/0: "
    child = serve("--redis", "redis://:secret@127.0.0.1:1/0")
    assert warning in child.output
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
    warning = "warning: cannot connect to Redis at redis://127.0.0.1:1/0: "
    # The worker must not wait for running jobs, because there are none.
    code = "from minichar.web import worker; worker.HEARTBEAT_TIMEOUT = 600; " + MAIN
    child = start("worker", "--redis", "redis://127.0.0.1:1/0", ready=warning, python=("-c", code))
    child.terminate()
    assert child.wait(TIMEOUT) == 1
    child.reader.join()
    last = "Error: stopped before Redis could be reached\n"
    assert child.output.endswith(last)
    assert "running jobs" not in child.output
    assert "Traceback" not in child.output


def test_redis_password(redis_url, tmp_path, monkeypatch):
    """The URL in the command line needs no password."""
    import redis

    from minichar.web.store import problem

    (tmp_path / "password").write_text("p@ss:/word\n")
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("requirepass", "p@ss:/word")
        try:
            assert "authentication" in problem(with_password(redis_url, None)).lower()
            assert problem(with_password(redis_url, tmp_path / "password")) is None
            monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "p@ss:/word")
            assert problem(with_password(redis_url, None)) is None
            assert with_password("redis://me:x@h/0", None) == "redis://me:x@h/0"
            assert with_password("redis://me@h:1/0", None) == "redis://me:p%40ss%3A%2Fword@h:1/0"
        finally:
            client.config_set("requirepass", "")


def test_serve_lists_the_checkpoints_in_a_directory_best_first(serve, folder):
    names = models(serve("cv").found[1])
    assert [name.rpartition("-")[0] for name in names] == [p.stem for p in sorted(folder.iterdir())]


def test_metrics_and_health_of_commands(serve, work, redis_url, folder):
    first, second = free_port(), free_port()
    serve("--metrics-port", first)
    child = work("--metrics-port", second, "--log-level", "error", folder)

    def get(port, path):
        with request(port, "GET", path) as response:
            return response.status, response.read().decode()

    for port, state in ((first, "waiting"), (second, "running")):
        status, metrics = get(port, "/metrics")
        assert (status, f'minichar_jobs{{state="{state}"}} 0.0' in metrics) == (200, True)
        assert "minichar_characters_total 0.0" in metrics
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/other")[0] == 404
    child.terminate()
    assert child.wait(TIMEOUT) == 0


class Times(SimpleNamespace):
    """Number of times that a thread is still alive."""

    def is_alive(self):
        self.left -= 1
        return self.left >= 0


def test_an_idle_worker_without_a_heartbeat_is_unhealthy(monkeypatch):
    from minichar.web import worker as module
    from minichar.web.errors import Unavailable

    def announce(*arguments):
        if clock[0] in failing:
            raise Unavailable("Redis is not responding")

    clock, step = [0.0], module.HEARTBEAT_TIMEOUT + 1
    failing = [2 * step]
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: None)
    )
    monkeypatch.setattr(module, "HEARTBEAT_INTERVAL", 0.0)
    link = SimpleNamespace(announce=announce, withdraw=lambda: None)
    one = module.Worker(link, {}, 1, 0.0)
    for healthy in (True, False, True):
        clock[0] += step
        one._publish([Times(left=1)])
        one._send_heartbeats(lambda: None, Times(left=1))
        assert one.healthy == healthy
    clock[0] += step
    one._send_heartbeats(lambda: None, Times(left=1))
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


@pytest.mark.parametrize("arguments", [["serve"], ["worker", "--redis", "redis://127.0.0.1:1/0"]])
def test_missing_package_error_names_the_packages(folder, arguments):
    without = "import sys; sys.modules['jsonschema'] = None; from minichar.cli import main; main()"
    done = run(folder, "-c", without, *arguments)
    assert done.returncode == 1
    _, _, command = done.stderr.splitlines()[-1].partition("): ")
    assert command.startswith('pip install "')
    assert ' "starlette>=' in command
    assert ' "jsonschema>=' in command
