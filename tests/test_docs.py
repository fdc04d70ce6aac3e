"""Every command and every Python block in the documents is run, as it stands, on small texts.

Only what makes a command slow is changed, or needs what not every machine has: the texts are
short, a network to be trained is narrow and trains for two epochs, what would be downloaded
lies there already, and the CPU stands in for other devices. The two commands that set up an
environment are run by ``.ci/run``, word for word.
"""

import os
import re
import shutil
import socket
import string
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from minichar.cli import main
from minichar.text import datasets

ROOT = Path(__file__).parents[1]
MADE = ("course", "commands", "api")
"""Folders of pages that the site's build makes from the source."""
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if path.relative_to(ROOT).parts[1:2] not in [(name,) for name in MADE]
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETUP = ("python3 -m venv .venv", ". .venv/bin/activate", "pip install", "sphinx-build")
SMALL = " --rnn-size 8 --max-epochs 2"
QUICK = " --rounds 1 --seq-length 8"
LINE = string.ascii_letters + string.digits + string.punctuation + " \n"
POEM = "山中一夜雨，樹杪百重泉。\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def blocks(language: str) -> list[str]:
    found = [match for path in DOCUMENTS for match in FENCE.finditer(path.read_text(encoding="utf-8"))]
    return [match[2] for match in found if match[1] == language]


def commands() -> list[str]:
    text = "".join(blocks("sh")).replace("\\\n", " ")
    tables = [
        line
        for path in DOCUMENTS
        for line in path.read_text(encoding="utf-8").splitlines()
        if line[:1] == "|"
    ]
    text += "".join(f"{command}\n" for command in re.findall(r"`(minichar [^`]+)`", "".join(tables)))
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with short texts where the documents expect long ones."""
    for name, line in (("pydocs", LINE), ("tinyshakespeare", LINE), ("quantangshi", POEM), ("tang300", POEM)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "input.txt").write_text(line * 40, encoding="utf-8")
    (tmp_path / "my.txt").write_text(LINE * 40, encoding="utf-8")
    (tmp_path / "novel.txt").write_text(POEM * 40, encoding="gb18030")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setattr(datasets, "_holds", lambda path, sha256: True)
    return tmp_path


READY = {
    "minichar serve": "serving at",
    "minichar worker": "ready for work",
    "redis-server": "Ready to accept",
}
"""What the documents start and leave running, and what each says when it can be used."""


class Servers:
    """They run on free ports, for as long as the test runs."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen] = []
        self.ports: dict[str, int] = {}

    def translate(self, command: str) -> str:
        """Put the ports that are used in the place of those that the documents name."""
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda m: str(self.ports.get(m[0], m[0])), command)

    def start(self, command: str) -> None:
        """Start one, and wait until it can be used."""
        if not command.startswith("minichar worker"):
            named = re.search(r" --port (\d+)", command)
            port = self.ports[named[1] if named else "8080"] = free_port()
            command = f"{re.sub(r' --port [0-9]+', '', command)} --port {port}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        self.children.append(subprocess.Popen(f"exec {command}", shell=True, **pipes))
        ready = next(words for start, words in READY.items() if command.startswith(start))
        assert any(ready in line for line in self.children[-1].stdout), command

    def stop(self) -> None:
        for child in reversed(self.children):
            child.terminate()
            child.communicate(timeout=30)


@pytest.fixture
def servers():
    servers = Servers()
    yield servers
    servers.stop()


def there(command: str) -> bool:
    """Return whether this machine has what the command needs; in CI it must."""
    needs = {"redis": "redis-server", "curl": "curl"}
    programs = [program for word, program in needs.items() if word in command]
    modules = {
        "redis": "flask",
        "minichar serve": "flask",
        "curl": "flask",
        "bench.load": "flask",
        " -o ": "matplotlib",
    }
    imported = [module for word, module in modules.items() if word in command]
    return "CI" in os.environ or (all(map(shutil.which, programs)) and all(map(find_spec, imported)))


def run(command: str) -> str:
    """Run one line as a shell would; return what it prints on standard output."""
    if command.startswith("minichar data get"):
        result = CliRunner().invoke(main, command.split()[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"
        return result.stdout
    # Not every machine has these; where they are there, the tests of each device run on them.
    command = re.sub(r"--device (gpu|opencl)$", "--device cpu", command)
    if command.startswith("python -m minichar.bench.load"):
        command += " --seconds 1 --clients 1 2"
    if command.startswith("minichar train") and "--resume" not in command:
        command += SMALL
    if re.match(r"(\w+=\S+ )*minichar bench", command):
        command = command.replace("minichar bench", f"minichar bench{QUICK}")
    done = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_the_first_screen_gives_exactly_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [line.startswith(SETUP) for line in FENCE.search(readme)[2].splitlines()] == [True, True]
    assert readme.count(SETUP[0]) == 2


def test_every_command_and_every_python_block(home, servers):
    """In the order of the documents; the Python blocks last, since they use what the commands made."""
    run("minichar train")  # as the first of the commands that set up does
    ran = 0
    for command in commands():
        if command.startswith(SETUP):
            continue
        for name in re.findall(r"cv/\S*\.npz", command):
            if not Path(name).exists():
                # A document names a checkpoint after an epoch and a loss that our short run did not reach.
                newest = max(Path("cv").glob("lm_*.npz"), key=lambda path: path.stat().st_mtime)
                shutil.copy(newest, name)
        if not there(command):
            continue
        command = servers.translate(command)
        if command.startswith(tuple(READY)):
            servers.start(command)
        else:
            run(command)
        ran += 1
    assert ran >= 15
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert blocks("python")


def test_every_option_named_in_the_documents_exists():
    helped = CliRunner().invoke(main, ["--help"]).output
    helped += "".join(CliRunner().invoke(main, [name, "--help"]).output for name in main.list_commands(None))
    for path in DOCUMENTS:
        text = re.sub(
            r"^.*(?:pip|pytest|bench.load|redis-server).*$",
            "",
            path.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        assert not re.search(r"@[A-Z]+@", text), "a figure is still to be filled"
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)):
            assert option in helped, f"{path.name} names {option}"
