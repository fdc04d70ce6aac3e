"""Test the Containerfile and the systemd unit. Neither Podman nor a running systemd is needed."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from optional import free_port
from toys import ONE_THREAD
from web_helpers import accepts_connections, wait_for

from minichar.cli import serve, worker

ROOT = Path(__file__).parents[2]
UNITS = {"serve": ROOT / "docs" / "minichar.service", "worker": ROOT / "docs" / "minichar-worker.service"}
INSTALLED = "/opt/minichar"
PROGRAM = f"{INSTALLED}/bin/minichar"


def instructions(name):
    """Return the arguments of all instructions with this name in the Containerfile."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]


def words(name):
    """Return the words of the only instruction with this name."""
    (arguments,) = instructions(name)
    return json.loads(arguments[arguments.index("[") :])


def copied():
    """Return the paths that the first stage copies from the source directory."""
    found = [shlex.split(line) for line in instructions("COPY")]
    return [path for *paths, _ in found for path in paths if not paths[0].startswith("--from")]


def check(words, expected="serve"):
    program, name, *arguments = words
    assert (program, name) == (PROGRAM, expected)
    return {"serve": serve, "worker": worker}[name].command.make_context(name, arguments).params


def test_containerfile():
    params = check(words("ENTRYPOINT") + words("CMD"))
    assert (params["host"], params["port"]) == ("0.0.0.0", int(instructions("EXPOSE")[0]))
    assert instructions("USER")[0].split(":")[0] not in ("0", "root")
    ignored, *kept = (ROOT / ".containerignore").read_text().split()
    assert ignored == "*"
    for path in copied():
        assert (ROOT / path).exists()
        assert any(fnmatch(f"!{path}", pattern) for pattern in kept)


@pytest.mark.skipif("CI" not in os.environ, reason="installs packages: set CI=true")
def test_commands_of_the_containerfile(tmp_path):
    """Run the commands of the image in a new environment, with only the files that the image contains.

    The image contains a model, and so it generates text without a volume.
    """
    source, installed = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    for path in copied():
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, source / path)
    environment = {k: v for k, v in ONE_THREAD.items() if k != "PYTHONPATH"}
    for line in instructions("RUN"):
        line = re.sub("^python", shlex.quote(sys.executable), line).replace(INSTALLED, str(installed))
        line = line.replace("--max-time 3", "--max-epochs 1 --rnn-size 8")
        subprocess.run(line, shell=True, cwd=source, env=environment, check=True)
    assert "--from=build /source/cv /cv" in instructions("COPY")
    port = free_port()
    start = [word.replace(INSTALLED, str(installed)) for word in words("ENTRYPOINT")]
    start += ["--host", "127.0.0.1", "--port", str(port), str(source / "cv")]
    check = [word.replace(INSTALLED, str(installed)) for word in words("HEALTHCHECK")]
    check = [word.replace(":8080", f":{port}") for word in check]
    assert subprocess.run(check, capture_output=True).returncode != 0
    with subprocess.Popen(start, cwd=tmp_path, env=environment) as server:
        try:
            wait_for(lambda: accepts_connections(port))
            subprocess.run(check, check=True)
        finally:
            server.terminate()
    assert server.returncode == 0


@pytest.mark.parametrize("name", UNITS)
def test_systemd_unit(name):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNITS[name])
    service = unit["Service"]
    check(shlex.split(service["ExecStart"]), name)
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["PrivateDevices"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert {"MemoryMax", "TasksMax"} <= set(service)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(tmp_path, name):
    program = shutil.which("systemd-analyze") or pytest.skip("systemd is not installed")
    copy = tmp_path / UNITS[name].name  # systemd checks that the program exists
    copy.write_text(UNITS[name].read_text().replace(PROGRAM, sys.executable))
    checked = subprocess.run([program, "verify", copy], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_commands_on_the_page_about_running_a_server():
    """The container of a worker uses the same image."""
    page = (ROOT / "docs" / "operating.md").read_text()
    lines = [line for line in page.splitlines() if "--entrypoint" in line]
    words = shlex.split(lines[0])
    start = words.index("--entrypoint") + 1
    image = words.index("minichar", start)
    params = check([words[start], *words[image + 1 :]], "worker")
    assert params["metrics_host"] == "0.0.0.0"
    snippet = page.partition("```nginx")[2].partition("```")[0]
    assert "X-Forwarded-For" in snippet
    assert "/metrics" in snippet
