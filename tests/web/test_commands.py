"""``minichar serve`` and ``minichar worker``, as processes where that matters."""

import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from toys import ONE_THREAD
from visiting import asked, free_port

from minichar.cli import main
from minichar.web import server


@pytest.fixture
def command(folder, monkeypatch):
    """Run a command beside ``cv/``."""
    monkeypatch.chdir(folder.parent)
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])


def models(port):
    with asked(port, "GET", "/api/models") as response:
        return [model["name"] for model in json.load(response)["models"]]


def test_without_a_name_it_is_the_best_checkpoint_and_it_stops_at_once(serve):
    child = serve()
    (name,) = models(child.found[1])
    assert name.startswith("lm_lstm_epoch1.00_1.2345-")
    assert name in child.said
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 0
    child.listener.join()
    assert child.said.endswith("stopped\n")
    assert "Traceback" not in child.said


def test_a_folder_to_choose_from_and_files(serve, folder):
    best, other = sorted(folder.iterdir())
    for arguments, expected in ((["cv"], [best, other]), ([other, best], [other, best])):
        names = models(serve(*arguments).found[1])
        assert [name.rpartition("-")[0] for name in names] == [path.stem for path in expected]


def test_it_stops_while_it_writes(serve):
    child = serve()
    with asked(child.found[1], "POST", "/api/generate", {"length": 20000}) as response:
        assert response.readline()
        child.terminate()
        assert b'"reason": "closing"' in response.read()
    assert child.wait(10) == 0


def test_what_is_served_is_what_sample_writes(serve, command):
    asking = {"prime": "山中", "length": 400, "seed": 9, "temperature": 0.6, "top_p": 0.9, "stream": False}
    with asked(serve().found[1], "POST", "/api/generate", asking) as response:
        text = json.load(response)["text"]
    options = ["--seed", 9, "--temperature", 0.6, "--top-p", 0.9, "--length", 400]
    result = command("sample", "--exact", "--primetext", "山中", *options, "--device", "cpu", "--quiet")
    assert result.stdout == f"山中{text}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["serve", "nowhere.npz"], 1, "nowhere.npz"),
        (["serve", "."], 1, "no checkpoint in ./"),
        (["serve", "--port", 99999], 2, "--port"),
        (["serve", "--pace", -1], 2, "--pace"),
        (["serve", "cv", "--redis", "redis://127.0.0.1:1/0"], 2, "the workers have the checkpoints"),
        (["serve", "--redis", "redis://127.0.0.1:1/0"], 1, "no Redis answers at redis://127.0.0.1:1/0"),
        (["worker", "--redis", "redis://127.0.0.1:1/0"], 1, "no Redis answers at"),
        (["worker"], 2, "--redis"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(command, arguments, status, words):
    result = command(*arguments)
    assert result.exit_code == status
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert words in last


def test_a_port_that_is_taken(serve, folder):
    port = serve(port=free_port()).found[1]
    command = [sys.executable, "-m", "minichar", "serve", "--port", port]
    done = subprocess.run(
        command, cwd=folder.parent, capture_output=True, text=True, timeout=30, env=ONE_THREAD
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Error: cannot serve at 127.0.0.1 port {port}: ")
    assert last.endswith("choose another --port")


def test_an_address_that_others_reach_is_warned_of(command, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *arguments: arguments[4]("http://there/"))
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    warning = "warning: whoever can reach 0.0.0.0 can use this server"
    assert warning in command("serve", "--host", "0.0.0.0").stderr
    assert "warning" not in command("serve").stderr
    assert opened == []
    command("serve", "--open")
    assert opened == ["http://there/"]


@pytest.mark.parametrize("arguments", [["serve"], ["worker", "--redis", "redis://127.0.0.1:1/0"]])
def test_a_package_that_is_missing_is_named(folder, arguments):
    without = "import sys; sys.modules['jsonschema'] = None; from minichar.cli import main; main()"
    command = [sys.executable, "-c", without, *arguments]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, env=ONE_THREAD)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'minichar[web]'")
