import importlib.metadata
import os
import re
import subprocess
import sys

import click
import pytest
from conftest import ONE_THREAD

import minichar.cli
from minichar.cli import COMMANDS, main
from minichar.errors import MinicharError


def test_version(cli):
    assert cli("--version").stdout == f"minichar, version {importlib.metadata.version('minichar')}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(cli, option):
    text = cli(option).stdout
    for name, words in COMMANDS.items():
        assert re.search(rf"^  {name} +{words}$", text, re.MULTILINE)
    lines = text.splitlines()
    assert "  A first evening:" in lines
    assert any(line.startswith("    minichar train  ") for line in lines), "one command a line"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(cli, name):
    text = cli(name, "--help").stdout
    assert text.startswith(f"Usage: minichar {name} ")
    for line in text.splitlines():
        assert len(line) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_listed_with_its_own_words(name):
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    assert command.help


def test_every_option_has_words(cli):
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (name, parameter.name)


def test_no_such_command(cli):
    result = cli("tarin", status=2)
    assert "No such command 'tarin'" in result.stderr
    assert result.stdout == ""


def test_no_such_option(cli):
    assert re.search("Error: No such option.*--rnnsize", cli("train", "--rnnsize", 3, status=2).stderr)


def test_a_command_is_imported_when_it_is_used():
    code = (
        "import sys, minichar.cli; print(*[name for name in sys.modules if name.startswith('minichar.cli.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.fixture
def failing(monkeypatch):
    """Let a command end in an exception."""

    def failing(error):
        @click.command()
        def command():
            raise error

        monkeypatch.setattr(minichar.cli.LazyGroup, "get_command", lambda *arguments: command)

    return failing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MinicharError("a mistake: mend it"), "Error: a mistake: mend it\n"),
        (
            MemoryError("Unable to allocate 15 TiB"),
            "Error: not enough memory (Unable to allocate 15 TiB): a smaller",
        ),
        (OSError(28, "No space left on device"), "Error: [Errno 28] No space left on device\n"),
        (PermissionError(13, "Permission denied", "x"), "Error: [Errno 13] Permission denied: 'x'\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_mistake_is_one_line_and_status_1(cli, failing, error, words):
    failing(error)
    result = cli("train", status=1)
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_fault_of_the_program_keeps_its_traceback(cli, failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli("train")


def test_a_network_larger_than_any_memory(cli, home):
    before = os.listdir(home)
    result = cli("train", "--data", "input.txt", "--rnn-size", 2**20, "--num-layers", 1, status=1)
    assert result.stderr.startswith("Error: not enough memory (")
    assert [name for name in os.listdir(home) if not name.endswith(".minichar.npz")] == before


def test_python_m_minichar(process):
    stdout, stderr = process("--version").communicate(timeout=60)
    assert stdout.startswith("minichar, version ")
    assert stderr == ""


def test_the_installed_command(home):
    script = os.path.join(os.path.dirname(sys.executable), "minichar")
    result = subprocess.run([script, "--help"], capture_output=True, text=True, env=ONE_THREAD, check=True)
    assert result.stdout.startswith("Usage: minichar [OPTIONS] COMMAND [ARGS]...")


def test_a_closed_pipe_ends_any_command_quietly(process):
    child = process("train", "--help")
    child.stdout.close()
    assert child.stderr.read() == ""
