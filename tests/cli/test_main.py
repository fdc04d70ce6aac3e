import re
import shlex
import warnings
from importlib import import_module

import click
import pytest

from minichar.cli import COMMANDS, SYNONYMS, main
from minichar.cli.options import is_rare
from minichar.errors import MinicharError, Option

INVALID = "Invalid value for"
QUOTES = "with quotes around a value that contains spaces"
TIME = "is not a time, such as 90s, 5m or 1h30m"
URL = "is a URL: download the file first, and use its local path"


def test_a_warning_is_one_line(cli, monkeypatch):
    shown, before = [], warnings.formatwarning

    def examine():
        shown.append(warnings.formatwarning("slow\nly", RuntimeWarning, "file.py", 3, line="x = 1"))
        return []

    monkeypatch.setattr("minichar.cli.doctor.examine", examine)
    cli("doctor")
    assert shown == ["warning: slow\\nly\n"]
    assert warnings.formatwarning is before


def test_help(cli):
    text = cli("-h").stdout
    for name, words in COMMANDS.items():
        assert re.search(rf"^  {name} +{words}$", text, re.MULTILINE)
    assert "\n  Quick start:\n    minichar train  " in text, "the paragraph is not rewrapped"


def subcommands(name):
    """Return a command, or a group's subcommands, keyed by command name."""
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


ALL_COMMANDS = {words: command for name in COMMANDS for words, command in subcommands(name).items()}


@pytest.mark.parametrize(("words", "command"), ALL_COMMANDS.items(), ids=map(" ".join, ALL_COMMANDS))
def test_help_describes_every_parameter_in_a_section(cli, words, command):
    rare = [*map(is_rare, command.params)].count(True)
    for option, hidden in [("--help", rare), ("--help-all", 0)][: 2 if rare else 1]:
        text = cli(*words, option).stdout
        assert text.startswith(f"Usage: minichar {' '.join(words)} ")
        assert all(len(line) <= 100 for line in text.splitlines())
        assert not re.search(r"default:\s+-?\d+\.0[;\]]", text), "a default has a superfluous fraction"
        text, _, examples = text.partition("\n  Examples:\n")
        assert examples.startswith("    minichar ") == (len(words) == 1)
        sections = sections_of(text)
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        assert len(sections.pop("Arguments", [])) == len(arguments), text
        shown = len(command.params) - len(arguments) - hidden + (2 if rare else 1)
        assert sum(map(len, sections.values())) == shown, text
        grouped = any(getattr(p, "group", "") for p in command.params)
        assert list(sections)[-1] == ("Other options" if grouped else "Options")
        assert sections[list(sections)[-1]][-1] == "-h, --help"
        assert all(row.startswith("-") for rows in sections.values() for row in rows)
    assert command.help
    assert all(getattr(p, "description", "") or p.help for p in command.params)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tarin", "Did you mean `minichar train`?"),
        ("trian --data x", "Did you mean `minichar train`?"),
        ("generate cv --length 9", "Did you mean `minichar sample`?"),
        ("resume", "Did you mean `minichar train --resume`?"),
        ("version", "Did you mean `minichar --version`?"),
        ("help", "Did you mean `minichar --help`?"),
        ("help train", "Did you mean `minichar train --help`?"),
        ("data download names", "Did you mean `minichar data get`?"),
        ("compare a b", "Did you mean `minichar plot`?"),
        ("evil", "Did you mean `minichar eval`?"),
        ("data names", "Did you mean `minichar data get names`?"),
        *((name, "") for name in ("xyzzy", "run", "start", "cv", "my.txt", "plan", "traits")),
    ],
)
def test_unknown_command_suggests_what_to_type(cli, given, words):
    result = cli(*given.split(), status=2)
    name = given.removeprefix("data ").split()[0]
    assert result.stderr.splitlines()[-1] == f"Error: No such command {name!r}. {words}".rstrip()
    assert result.stdout == ""


def test_all_integers_are_of_a_type_that_answers_a_thousands_separator():
    types = {parameter.type for command in ALL_COMMANDS.values() for parameter in command.params}
    assert click.INT not in types


def test_synonyms_of_commands_are_commands():
    for words in SYNONYMS.values():
        name = words.format("train").split()[0]
        assert name in COMMANDS or name == "--version", words
    assert not {*SYNONYMS} & {*COMMANDS}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train --rnnsize 3", "No such option '--rnnsize'. Did you mean '--rnn-size'?"),
        ("sample --top 1", "No such option '--top'. Did you mean '--top-k' or '--top-p'?"),
        ("train --type float64", "No such option '--type'. Did you mean '--dtype'?"),
        ("sample cv —length 5", "No such option '—length'. Did you mean '--length'?"),
        ("sample –top_k=5 cv", "No such option '–top_k'. Did you mean '--top-k'?"),
        ("sample cv –-top-k 5", "No such option '–-top-k'. Did you mean '--top-k'?"),
        ("sample cv －－top-k 5", "No such option '－－top-k'. Did you mean '--top-k'?"),
        ("train -rnn_size 64 --xyzzy 3", "No such option '--xyzzy'."),
        ("train -sample 0", "No such option '-sample'. Did you mean '--sample-every'?"),
        ("sample -prompt --quiet", "No such option '-prompt'."),
        ("sample cv -t -2 -1", "No such option '-1'."),
        (
            "sample -n 5",
            "No such option '-n': use --length for the number of characters, or --num-samples for the number "
            "of samples",
        ),
        ("train --resume -2", "No such option '-2'."),
        ("data -h2", "No such option '-h2'."),
        ("train --temperature=0.5", "--temperature is an option of minichar sample"),
        ("data get --vocab-from x", "--vocab-from is an option of minichar convert"),
        ("train --met 1", "No such option '--met'."),
        ("train --resume=-x", "No such option '-x'."),
        ("sample --rnn_size 5", "--rnn-size is an option of minichar train, sweep, gradcheck"),
        ("--temperature 0.5", "--temperature is an option of minichar sample"),
        ("inspect --html", "--html needs a value: --html OUT.html"),
        ("plot -o", "-o needs a value: -o FILE"),
        ("train --rnn_size", "--rnn-size needs a value: --rnn-size H"),
        ("train --quiet=3", "Option '--quiet' does not take a value."),
        ("train -quiet=3", "No such option '-quiet'. Did you mean '--quiet'?"),
        ("sample -o x", "No such option '-o': append `> FILE` to save the text after --primetext"),
        ("sample cv 'The '", f"unexpected argument 'The ': use --primetext, {QUOTES}"),
        ("sample --primetext Once upon a time", f"unexpected argument 'a': use --primetext, {QUOTES}"),
        ("eval cv my.txt", f"unexpected argument 'my.txt': use --data, {QUOTES}"),
        ("inspect cv my.txt", f"unexpected argument 'my.txt': use --html and --text, {QUOTES}"),
        ("train --max-time 1:30", f"{INVALID} '--max-time': '1:30' {TIME}"),
        ("train --max-time 1h 30m", "unexpected argument '30m': write a time without spaces, such as 1h30m"),
        ("train --max-time nan", "--max-time is nan; it must be at least 0"),
        ("sweep --max-time -5m", f"{INVALID} '--max-time': '-5m' {TIME}"),
        ("sample --temperature 0,5", f"{INVALID} '--temperature': '0,5' is not a number, such as 0.5"),
        ("sample --length 2,000", f"{INVALID} '--length': '2,000' is not an integer: write 2000"),
        ("sample --length 2,x", f"{INVALID} '--length': '2,x' is not an integer"),
        (
            "train --rnn-size 1,024",
            f"{INVALID} '--rnn-size': '1,024' is neither auto nor an integer: write 1024",
        ),
        ("train --val-frac 5%", f"{INVALID} '--val-frac': '5%' is not a number, such as 0.5"),
        ("train --dropout x", f"{INVALID} '--dropout': 'x' is neither auto nor a number, such as 0.5"),
        ("train --rnn-size x", f"{INVALID} '--rnn-size': 'x' is neither auto nor an integer"),
        ("train --data https://x/a//b.txt?x=1", f"{INVALID} '--data': https://x/a//b.txt?x=1 {URL}"),
        ("sample HTTP://x/y", f"{INVALID} '[CHECKPOINT]': HTTP://x/y {URL}"),
        ("train --print-every 0", "--print-every is 0; it must be at least 1"),
        ("inspect --length 20001", "--length is 20001; it must be from 2 to 20000"),
        ("serve --pace nan", "--pace is nan; it must be at least 0"),
    ],
)
def test_usage_errors_say_what_to_type(cli, given, words):
    assert cli(*shlex.split(given), status=2).stderr.splitlines()[-1] == f"Error: {words}"


@pytest.mark.parametrize("command", ["train", "sample"])
def test_no_suggestion_is_better_than_a_wrong_one(cli, command):
    for option in (
        *("--momentum", "--adam", "--color", "--stream", "--quantize", "--size", "--shuffle"),
        *("--repetition-penalty", "--attention", "--tokenizer", "--gamma", "--heads", "--fp16", "--se"),
        *("--help-me", "-x", "-V2"),
    ):
        stderr = cli(command, option, "3", status=2).stderr
        assert stderr.splitlines()[-1] == f"Error: No such option {option!r}."


def test_choices_ignore_case_and_suggest_a_similar_name(cli):
    words = "'lsmt' is neither auto nor one of 'gru', 'gru-reset-before', 'lstm', 'rnn'; did you mean 'lstm'?"
    assert words in cli("train", "--model", "lsmt", status=2).stderr
    words = "did you mean 'tinyshakespeare'?"
    assert words in cli("data", "get", "Shakespeare", status=2).stderr
    assert "'none' does not exist" in cli("train", "--split", "Tail", "--data", "none", status=1).stderr


def test_ranges_are_described_in_words(cli):
    text = re.sub(r"\s+", " ", cli("serve", "--help").stdout)
    assert "--port INTEGER Port to listen on. 0: any free port. [default: 8080; from 0 to 65535]" in text
    assert "0: no limit. [default: 2000; at least 0]" in text
    text = re.sub(r"\s+", " ", cli("eval", "--help").stdout)
    assert "Text encoding. [default: as in training]" in text
    assert "'x' is not an integer" in cli("serve", "--port", "x", status=2).stderr


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes a command raise an exception."""

    def failing(name, error):
        def callback(*arguments, **options):
            raise error

        monkeypatch.setattr(import_module(f"minichar.cli.{name}").command, "callback", callback)

    return failing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MinicharError(Option("top_k", 3), " needs ", Option("top_p")), "--top-k 3 needs --top-p"),
        (OSError(28, "No space left"), "cannot write to standard output: No space left"),
        (OSError(28, "No space left", "x"), "cannot access 'x': No space left"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
    ],
)
def test_user_error_is_one_line_with_status_1(refused, failing, error, words):
    failing("train", error)
    assert refused("train") == f"Error: {words}"


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("train", ": reduce --rnn-size or --batch-size or --seq-length"),
        ("train --resume cv", ""),
        ("train --rnn-size 1 --batch-size 1", ": reduce --seq-length"),
        ("sample --num-samples 9", ": reduce --num-samples"),
        ("plot", ""),
    ],
)
def test_out_of_memory(refused, failing, monkeypatch, command, advice):
    errors = {"": MemoryError(), " (Unable to allocate 15 TiB)": MemoryError("Unable to allocate 15 TiB")}
    monkeypatch.setattr("minichar.cli.options.OPENED", [])
    for shown, error in errors.items():
        failing(command.split()[0], error)
        assert refused(*command.split()) == f"Error: out of memory{shown}{advice}"
        with monkeypatch.context() as gpu:
            gpu.setattr("minichar.cli.options.OPENED", ["gpu:0"])
            cpu = f"{', or' if advice else ':'} use --device cpu"
            assert refused(*command.split()) == f"Error: out of memory{shown}{advice}{cpu}"


def test_ctrl_c_exits_with_status_130_and_an_internal_error_keeps_its_traceback(cli, failing):
    failing("train", KeyboardInterrupt())
    result = cli("train", status=130)
    assert (result.stdout, result.stderr) == ("", "\nstopped\n")
    failing("train", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli("train")


@pytest.mark.parametrize(
    "command", [f"train --data input.txt --rnn-size {2**20}", f"gradcheck --batch-size {10**23}"]
)
def test_network_larger_than_memory(refused, command):
    assert refused(*command.split()).startswith("Error: out of memory (")
