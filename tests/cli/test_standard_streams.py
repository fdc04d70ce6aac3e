"""Test closed, full and broken standard streams, terminals, and Ctrl-C at every stage of a command."""

import os
import re
import signal
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from toys import ONE_THREAD, listing, toy_model

import minichar
from minichar.checkpoints.checkpoint import save
from minichar.errors import visible
from minichar.extras import need, on_interrupt, raise_interrupt

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="requires /dev/full")


@pytest.fixture
def shell(home):
    """Return a function that runs a shell script, in which ``"$@"`` is a Python command line."""

    def shell(script, *arguments, **environment):
        command = ["sh", "-c", script, "sh", sys.executable, *map(str, arguments)]
        env = ONE_THREAD | environment
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)

    return shell


ENTRY = """
import minichar.cli
minichar.cli.main = lambda **options: print(options, flush=True)
from minichar.__main__ import STARTED, main
main()
print(STARTED)
"""


def test_the_time_limit_counts_from_the_start_of_the_process(shell):
    (script,) = entry_points(group="console_scripts", name="minichar")
    assert script.value == "minichar.__main__:main"
    options, started = shell('exec "$@"', "-c", ENTRY).stdout.splitlines()
    assert options == f"{{'prog_name': 'minichar', 'obj': {started}}}"


# Closed streams


STATE = """
import fcntl, os, sys
from minichar.__main__ import open_missing_streams
open_missing_streams()
print(chr(0xdcff), file=sys.stderr, flush=True)
modes = [fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE for descriptor in range(3)]
descriptors = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
print(modes, descriptors, [os.get_inheritable(n) for n in range(3)], file=open("state", "w"))
"""


@pytest.mark.parametrize(("closed", "output"), [("<&-", os.O_WRONLY), ("<&- >&- 2>&-", os.O_RDONLY)])
def test_closed_streams_are_opened(shell, home, closed, output):
    assert shell(f'exec "$@" </dev/null >/dev/null 2>/dev/null {closed}', "-c", STATE).returncode == 0
    expected = [os.O_RDONLY, output, os.O_WRONLY], [0, 1, 2], [True] * 3
    assert (home / "state").read_text() == " ".join(map(str, expected)) + "\n"


BAD, FULL = "Bad file descriptor", "No space left on device"


@pytest.mark.parametrize(
    ("redirection", "arguments", "unbuffered", "why"),
    [
        (">&-", ["data", "list"], "", BAD),
        pytest.param(">/dev/full", ["--help"], "1", FULL, marks=needs_full),
        pytest.param(">/dev/full", ["data", "list"], "", FULL, marks=needs_full),
    ],
)
def test_standard_output_that_cannot_be_written(shell, home, redirection, arguments, unbuffered, why):
    before = listing(home)
    script, environment = f'exec "$@" {redirection}', {"PYTHONUNBUFFERED": unbuffered}
    result = shell(script, "-m", "minichar", *arguments, **environment)
    assert result.returncode == 1
    assert result.stderr == f"Error: cannot write to standard output: {why}\n"
    assert listing(home) == before


def test_closed_standard_error(shell, cli, checkpoint):
    assert shell('exec "$@" 2>&-', "-m", "minichar", "eval").stdout == cli("eval").stdout


# Full and broken streams


@needs_full
def test_full_standard_error(shell):
    result = shell('exec "$@" 2>/dev/full', "-m", "minichar", "tarin", PYTHONUNBUFFERED="")
    assert (result.returncode, result.stdout) == (1, "")


@pytest.mark.parametrize("arguments", ["data list", "sample toy.npz --length 0"])
def test_abandoned_standard_output(process, toy, arguments):
    child = process(*arguments.split(), env=ONE_THREAD | {"PYTHONUNBUFFERED": ""})
    child.stdout.close()
    stderr = child.stderr.read()
    assert child.wait(timeout=600) == 141
    assert not re.search("Error|ignored", stderr)


# Terminals


ATTACK = "\x1b]0;title\a\x1b[2J\r\x7f\x9b31m\u202e\u2066\u2028"
ESCAPED = r"\x1b]0;title\x07\x1b[2J\r\x7f\x9b31m\u202e\u2066\u2028"


@pytest.fixture
def attack(home):
    """Save a model in a file whose name contains control characters, as does its vocabulary."""
    path = f"lm_{ATTACK}_epoch1.00_1.0000.npz"
    save(path, toy_model("".join(sorted({*ATTACK, *"\n\tab"})), scale=1.0))
    return path


def test_generated_text_is_escaped_on_a_terminal_only(on_a_terminal, cli, attack):
    arguments = ["sample", attack, "--length", 300, "--seed", 1]
    text = cli(*arguments).stdout_bytes.decode()
    assert {*ATTACK, "\n", "\t"} <= {*text}
    shown, _, status = on_a_terminal(*arguments)
    assert status == 0
    assert ESCAPED in shown
    assert shown.endswith(visible(text))
    assert visible(shown) == shown


@pytest.mark.parametrize(("command", "status"), [("convert {} {}.html", 0), ("plot {}", 1)])
def test_file_names_and_arguments_are_escaped_on_a_terminal(on_a_terminal, attack, command, status):
    shown, _, actual = on_a_terminal(*(word.format(attack) for word in command.split()))
    assert actual == status
    assert ESCAPED in shown
    assert visible(shown) == shown


def test_warnings_and_tracebacks_are_escaped_on_a_terminal(on_a_terminal, stub, checkpoint):
    code = f"import warnings\nattack = {ATTACK!r}\nwarnings.warn(attack)\nraise RuntimeError(attack)\n"
    shown, *_ = on_a_terminal("plot", "-o", "loss.svg", **stub("matplotlib", code))
    assert f"warning: {ESCAPED}\n" in shown
    assert f"RuntimeError: {ESCAPED}\n" in shown
    assert visible(shown) == shown


def test_only_progress_lines_and_signal_handlers_bypass_the_escaping():
    """Other modules must write to `sys.stdout` and `sys.stderr`."""
    bypass = re.compile(r"\bunescaped\(|\bos\.write\(|__std(out|err)__|/dev/tty|\bCON\b")
    package = Path(minichar.__file__).parent
    found = {path.name for path in package.rglob("*.py") if bypass.search(path.read_text(encoding="utf-8"))}
    assert found == {"terminal.py", "bar.py", "course.py", "plot.py", "stopping.py"}


# Ctrl-C


@pytest.fixture
def stub(home):
    """Return a function that writes a stub package and returns an environment that imports the stub."""

    def stub(name, code):
        (home / "stubs" / name).mkdir(parents=True)
        (home / "stubs" / name / "__init__.py").write_text(code)
        return {"PYTHONPATH": str(home / "stubs")}

    return stub


PRESS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"


def test_interrupted_import(shell, stub):
    """Shell scripts start background jobs with SIGINT ignored, and minichar must keep ignoring it."""
    environment = stub("click", PRESS + "raise ImportError('still running')")
    result = shell('exec "$@"', "-m", "minichar", "--help", **environment)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")
    ignored = shell("trap '' INT; exec \"$@\"", "-m", "minichar", "--help", **environment)
    assert ignored.returncode == 1
    assert "still running" in ignored.stderr


def test_interrupted_command(process, toy):
    child = process("sample", toy, "--length", 0, "--stop", "", "--quiet")
    assert len(child.stdout.read(10)) == 10
    child.send_signal(signal.SIGINT)
    assert child.stdout.read().endswith("\n")
    assert child.stderr.read() == ""
    assert child.wait(timeout=600) == 130


FINALIZER = """
import signal, sys
from minichar.__main__ import main
sys.argv = ["minichar", "--version"]
try:
    main()
except SystemExit:
    pass
signal.signal(signal.SIGINT, signal.default_int_handler)

class Error:
    def __del__(self):
        {}

Error()
print("still running", flush=True)
"""


def test_interrupts_and_errors_in_a_finalizer(shell):
    result = shell('exec "$@" >/dev/null', "-c", FINALIZER.format(PRESS))
    assert (result.returncode, result.stderr) == (-signal.SIGINT, "")
    result = shell('exec "$@"', "-c", FINALIZER.format("1 / 0"))
    assert "ZeroDivisionError" in result.stderr
    assert "still running" in result.stdout


def handler_in_block():
    with on_interrupt(signal.SIG_DFL):
        return signal.getsignal(signal.SIGINT)


def test_interrupt_action_is_restored_and_a_handler_of_the_program_or_in_another_thread_is_kept():
    before, handlers = signal.getsignal(signal.SIGINT), []
    assert handler_in_block() is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
    thread = threading.Thread(target=lambda: handlers.append(handler_in_block()))
    thread.start()
    thread.join()
    assert handlers == [before]
    signal.signal(signal.SIGINT, handler := lambda number, frame: None)
    try:
        assert handler_in_block() is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("before", "during"),
    [(signal.default_int_handler, signal.default_int_handler), (raise_interrupt, signal.SIG_DFL)],
    ids=["python", "command"],
)
def test_interrupted_import_kills_only_commands(monkeypatch, before, during):
    monkeypatch.setattr("minichar.extras.import_module", lambda module: signal.getsignal(signal.SIGINT))
    kept = signal.signal(signal.SIGINT, before)
    try:
        assert need("module", "extra", "what") is during
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, kept)
