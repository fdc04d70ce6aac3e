import importlib.metadata
import os
import re
import subprocess
import sys

import click
import pytest
from toys import ONE_THREAD

import minichar.cli
from minichar.cli import COMMANDS, main
from minichar.errors import MinicharError, Option


def test_version(cli):
    assert cli("--version").stdout == f"minichar, version {importlib.metadata.version('minichar')}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(cli, option):
    text = cli(option).stdout
    for name, words in COMMANDS.items():
        assert re.search(rf"^  {name} +{words}$", text, re.MULTILINE)
    lines = text.splitlines()
    assert "  Quick start:" in lines
    assert any(line.startswith("    minichar train  ") for line in lines), "the paragraph is not rewrapped"


def subcommands(name):
    """Return a command, or a group's subcommands, keyed by the words that invoke them."""
    command = main.get_command(click.Context(main), name)
    children = getattr(command, "commands", {})
    return {(name, child): children[child] for child in children} or {(name,): command}


def sections_of(text):
    """Return the first column of each help section, keyed by heading, for any version of Click."""
    sections, heading = {}, None
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            heading = sections.setdefault(line.removesuffix(":"), [])
        elif heading is not None and (match := re.match(r"  (\S.*?)(?:  |$)", line)):
            heading.append(match[1])
    return sections


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_parameter_in_a_section(cli, name):
    for words, command in subcommands(name).items():
        text = cli(*words, "--help").stdout
        assert text.startswith(f"Usage: minichar {' '.join(words)} ")
        assert command.help
        assert all(len(line) <= 100 for line in text.splitlines())
        sections = sections_of(text)
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        assert len(sections.pop("Arguments", [])) == len(arguments), text
        assert all(p.description for p in arguments)
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert sum(map(len, sections.values())) == len(options) + 1, text  # and --help
        assert all(p.help for p in options)
        assert list(sections)[-1] in ("Options", "Other options")
        assert sections[list(sections)[-1]][-1] == "-h, --help"
        assert all(row.startswith("-") for rows in sections.values() for row in rows), (
            "an argument is listed as an option"
        )


def test_help_describes_arguments_in_their_own_section(cli):
    text = cli("sample", "--help").stdout
    assert re.search(r"^Arguments:\n  \[CHECKPOINT\]  A checkpoint or a directory", text, re.MULTILINE)
    assert sections_of(text)["Arguments"] == ["[CHECKPOINT]"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tarin", "No such command 'tarin'. Did you mean train?"),
        ("evla", "No such command 'evla'. Did you mean eval?"),
        ("xyzzy", "No such command 'xyzzy'."),
    ],
)
def test_unknown_command_suggests_similar_names(cli, given, words):
    result = cli(given, status=2)
    assert result.stderr.splitlines()[-1] == f"Error: {words}"
    assert result.stdout == ""


def test_unknown_option_suggests_a_similar_name(cli):
    stderr = cli("train", "--rnnsize", 3, status=2).stderr
    assert re.search("Error: No such option.*--rnnsize.*--rnn-size", stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "-data_dir", "x", "-rnn_size", 64], "'-data_dir'. Did you mean '--data'?"),
        (["train", "--data", "x", "-rnn_size", 64], "'-rnn_size'. Did you mean '--rnn-size'?"),
        (["sample", "cv", "-temperature=0.5"], "'-temperature'. Did you mean '--temperature'?"),
        (["train", "-gpuid", 0], "'-gpuid'."),
        (["data", "get", "-force", "pydocs"], "'-force'. Did you mean '--force'?"),
        (["-version"], "'-version'. Did you mean '--version'?"),
    ],
)
def test_long_option_with_one_dash(cli, arguments, words):
    stderr = cli(*arguments, status=2).stderr
    assert stderr.splitlines()[-1] == f"Error: No such option {words}"


def test_choices_ignore_case_and_suggest_a_similar_name(cli):
    words = "'lsmt' is not one of 'gru', 'lstm', 'rnn'; did you mean 'lstm'?"
    assert words in cli("train", "--model", "lsmt", status=2).stderr
    words = "did you mean 'tinyshakespeare'?"
    assert words in cli("data", "get", "Shakespeare", status=2).stderr
    assert "'none' does not exist" in cli("train", "--model", "LSTM", "--data", "none", status=1).stderr
    assert "'none' does not exist" in cli("train", "--split", "Tail", "--data", "none", status=1).stderr


def test_ranges_are_described_in_words(cli):
    text = re.sub(r"\s+", " ", cli("serve", "--help").stdout)
    assert "--port INTEGER Port to listen on. 0: any free port. [default: 8080; from 0 to 65535]" in text
    assert "0: no limit. [default: 2000.0; at least 0]" in text
    assert "'x' is not a valid integer." in cli("serve", "--port", "x", status=2).stderr


def test_commands_are_imported_lazily():
    code = (
        "import sys, minichar.cli; print(*[name for name in sys.modules if name.startswith('minichar.cli.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["minichar.cli.dashes"]


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes every command raise an exception."""

    def failing(error):
        @click.command()
        def command():
            raise error

        monkeypatch.setattr(minichar.cli.LazyGroup, "get_command", lambda *arguments: command)

    return failing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MinicharError("wrong value: fix it"), "Error: wrong value: fix it\n"),
        (
            MinicharError(Option("top_k", 3), " contradicts ", Option("gru_reset")),
            "Error: --top-k 3 contradicts --gru-reset\n",
        ),
        (
            MemoryError("Unable to allocate 15 TiB"),
            "Error: out of memory (Unable to allocate 15 TiB): reduce --rnn-size",
        ),
        (OSError(28, "No space left"), "Error: cannot write to standard output: No space left\n"),
        (OSError(28, "No space left", "x"), "Error: [Errno 28] No space left: 'x'\n"),
        (OSError(5, "Input/output error"), "Error: [Errno 5] Input/output error\n"),
        (PermissionError(13, "Permission denied", "x"), "Error: [Errno 13] Permission denied: 'x'\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_user_error_is_one_line_with_status_1(cli, failing, error, words):
    failing(error)
    result = cli("train", status=1)
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_ctrl_c_exits_with_status_130(cli, failing):
    failing(KeyboardInterrupt())
    result = cli("train", status=130)
    assert (result.stdout, result.stderr) == ("", "\nAborted!\n")


def test_internal_error_keeps_its_traceback(cli, failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli("train")


def test_network_larger_than_memory(cli, home):
    before = os.listdir(home)
    result = cli("train", "--data", "input.txt", "--rnn-size", 2**20, "--num-layers", 1, status=1)
    assert result.stderr.startswith("Error: out of memory (")
    assert [name for name in os.listdir(home) if not name.endswith(".minichar.npz")] == before


def test_python_m_minichar(process):
    stdout, stderr = process("--version").communicate(timeout=60)
    assert stdout.startswith("minichar, version ")
    assert stderr == ""


def test_console_script(home):
    script = os.path.join(os.path.dirname(sys.executable), "minichar")
    result = subprocess.run([script, "--help"], capture_output=True, text=True, env=ONE_THREAD, check=True)
    assert result.stdout.startswith("Usage: minichar [OPTIONS] COMMAND [ARGS]...")
