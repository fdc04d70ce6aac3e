import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import warnings

import click
import pytest
from toys import ONE_THREAD

import minichar.cli
from minichar.cli import COMMANDS, main
from minichar.cli.renamed import BY_VALUE, RENAMED
from minichar.errors import MinicharError, Option


def test_a_warning_is_one_line(cli, monkeypatch):
    shown, before = [], warnings.formatwarning

    def size(dataset):
        shown.append(warnings.formatwarning("slow", RuntimeWarning, "file.py", 3, line="x = 1"))
        return "1"

    monkeypatch.setattr("minichar.cli.data._size", size)
    cli("data", "list")
    assert {*shown} == {"warning: slow\n"}
    assert warnings.formatwarning is before


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


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_parameter_in_a_section(cli, name):
    for words, command in subcommands(name).items():
        text = cli(*words, "--help").stdout
        assert text.startswith(f"Usage: minichar {' '.join(words)} ")
        assert command.help
        assert all(len(line) <= 100 for line in text.splitlines())
        text, _, examples = text.partition("\n  Examples:\n")
        assert examples.startswith("    minichar ") == (len(words) == 1)
        sections = sections_of(text)
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        assert len(sections.pop("Arguments", [])) == len(arguments), text
        assert all(p.description for p in arguments)
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert sum(map(len, sections.values())) == len(options) + 1, text  # plus --help
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
        ("trian", "No such command 'trian'. Did you mean train?"),
        ("evla", "No such command 'evla'. Did you mean eval?"),
        ("xyzzy", "No such command 'xyzzy'."),
    ],
)
def test_unknown_command_suggests_similar_names(cli, given, words):
    result = cli(given, status=2)
    assert result.stderr.splitlines()[-1] == f"Error: {words}"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --rnnsize 3", "'--rnnsize'. Did you mean '--rnn-size'?"),
        ("sample --temp 1", "'--temp'. Did you mean '--temperature'?"),
        ("train --learn 1", "'--learn'. Did you mean '--learning-rate'?"),
        ("sample cv —length 5", "'—length'. Did you mean '--length'?"),
        ("sample –top_k=5 cv", "'–top_k'. Did you mean '--top-k'?"),
        ("train —rnn-size 64", "'—rnn-size'. Did you mean '--rnn-size'?"),
    ],
)
def test_unknown_option_suggests_a_similar_name(cli, arguments, words):
    stderr = cli(*arguments.split(), status=2).stderr
    assert stderr.splitlines()[-1] == f"Error: No such option {words}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "cv", "The "], "'The ': use `minichar sample cv --primetext 'The '`"),
        (["sample", "a b", "—Hello"], "'—Hello': use `minichar sample 'a b' --primetext '—Hello'`"),
        (["sample", "--primetext", "Once", "upon", "a", "time"], "'a': put quotes around the prompt"),
        (["eval", "cv", "my.txt"], "'my.txt': use `minichar eval cv --data my.txt`"),
        (["inspect", "cv", "my.txt"], "'my.txt': use `minichar inspect cv --text my.txt --html inside.html`"),
    ],
)
def test_a_second_argument_suggests_the_option(cli, arguments, words):
    stderr = cli(*arguments, status=2).stderr
    assert stderr.splitlines()[-1] == f"Error: unexpected argument {words}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train -rnnsize 64", "'-rnnsize'. Did you mean '--rnn-size'?"),
        ("train -rnn_size 64 --xyzzy 3", "'--xyzzy'."),
        ("sample -n_layer 2", "'-n_layer'."),
        ("train -sample 0", "'-sample'. Did you mean '--sample-every'?"),
        ("train -checkpoint x.npz", "'-checkpoint'. Did you mean '--checkpoint-dir'?"),
        ("train -x", "'-x'."),
        ("-xyzzy", "'-xyzzy'."),
    ],
)
def test_unknown_option_with_one_dash(cli, arguments, words):
    stderr = cli(*arguments.split(), status=2).stderr
    assert stderr.splitlines()[-1] == f"Error: No such option {words}"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("train -data_dir x -rnn_size 64 -gpuid -1", "train --data x --rnn-size 64 --device cpu"),
        ("train --data x -rnn_size=64 -gpuid 1", "train --data x --rnn-size=64 --device gpu:1"),
        ("train -opencl 1 -dropout 0.5", "train --device opencl --dropout 0.5"),
        ("train -opencl 0 -seed 1", "train --seed 1 (no equivalent: -opencl)"),
        ("sample cv -temperature=0.5", "sample cv --temperature=0.5"),
        ("sample cv -sample 0 -verbose 0", "sample cv --argmax --quiet"),
        ("sample -sample 1 --sample", "sample --sample --sample"),
        ("sample -primetext 'a b'", "sample --primetext 'a b'"),
        ("train -accurate_gpu_timing 1", "train (no equivalent: -accurate_gpu_timing)"),
        ("train -model_type gru -checkpoint_every 9", "train --model gru --eval-val-every 9"),
        ("sample -checkpoint x.npz -start_text a", "sample x.npz --primetext a"),
        ("sample -checkpoint=x.npz", "sample x.npz"),
        ("train --block_size=8 --n_layer 3 --n_embd=9", "train --seq-length=8 --num-layers 3 --rnn-size=9"),
        (
            "train --n_head=4 --max_iters 10 --seed 1",
            "train --seed 1 (no equivalent: --n_head, --max_iters)",
        ),
        (
            "train --optimizer adam --n_head 4 --lr 1",
            "train --learning-rate 1 (no equivalent: --optimizer, --n_head; the optimiser is always RMSprop)",
        ),
        ("train --optim=adamw", "train (no equivalent: --optim; the optimiser is always RMSprop)"),
        (
            "train --optimizer adam --optim adam",
            "train (no equivalent: --optimizer, --optim; the optimiser is always RMSprop)",
        ),
        (
            "train --lr 1 --learning-rate-schedule cosine --min_lr=0",
            "train --learning-rate 1 (no equivalent: --learning-rate-schedule, --min_lr; "
            "the schedule is set by --warmup and --learning-rate-decay)",
        ),
        (
            "train --warmup_iters 9 --decay_lr=0 --lr_decay_iters 9 -lr_decay_factor 0.5 --lr-schedule step",
            "train (no equivalent: --warmup_iters, --decay_lr, --lr_decay_iters, -lr_decay_factor, "
            "--lr-schedule; the schedule is set by --warmup and --learning-rate-decay)",
        ),
        ("train --eval_iters 200", "train --max-val-chunks 200"),
        ("sample --start=a --max_new_tokens=9", "sample --primetext=a --length=9"),
        ("train --lr 0.01 --epochs 5", "train --learning-rate 0.01 --max-epochs 5"),
        ("train --gpu --data x", "train --device gpu --data x"),
        ("sample --gpu cv", "sample --device gpu cv"),
        ("sample cv --gpu", "sample cv --device gpu"),
        ("data get -force pydocs", "data get --force pydocs"),
        ("-version", "--version"),
        ("train -data x", "train --data x"),
        ("eval --text x", "eval --data x"),
        ("inspect --data=x", "inspect --text=x"),
        ("gradcheck --true-share 1", "gradcheck --teacher-forcing-ratio 1"),
    ],
)
def test_options_of_other_programs_are_answered_with_the_command_to_use(cli, given, answer):
    words = shlex.split(given)
    last = cli(*words, status=2).stderr.splitlines()[-1]
    assert re.fullmatch(f"Error: No such option '-.*'. Use: minichar {re.escape(answer)}", last)


def test_the_first_option_to_change_is_named(cli):
    stderr = cli("train", "--seed", 1, "-opencl", 0, "-rnn_size", 8, status=2).stderr
    assert stderr.splitlines()[-1].startswith("Error: No such option '-opencl'. ")


def test_answers_to_options_of_other_programs_are_options():
    """Every replacement is an option of one of these commands, or an argument."""
    options = {
        name
        for command in ("train", "sample", "inspect", "gradcheck")
        for parameter in main.get_command(click.Context(main), command).params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(RENAMED.values()) - {""} <= options
    templates = [template for values in BY_VALUE.values() for template in values.values() if template]
    assert {template.split()[0] for template in templates} <= options
    assert not {*RENAMED} & {*BY_VALUE}


def test_choices_ignore_case_and_suggest_a_similar_name(cli):
    words = "'lsmt' is not one of 'auto', 'gru', 'lstm', 'rnn'; did you mean 'lstm'?"
    assert words in cli("train", "--model", "lsmt", status=2).stderr
    words = "did you mean 'tinyshakespeare'?"
    assert words in cli("data", "get", "Shakespeare", status=2).stderr
    assert "'none' does not exist" in cli("train", "--model", "LSTM", "--data", "none", status=1).stderr
    assert "'none' does not exist" in cli("train", "--split", "Tail", "--data", "none", status=1).stderr


def test_ranges_are_described_in_words(cli):
    text = re.sub(r"\s+", " ", cli("serve", "--help").stdout)
    assert "--port INTEGER Port to listen on. 0: any free port. [default: 8080; from 0 to 65535]" in text
    assert "0: no limit. [default: 2000; at least 0]" in text
    text = re.sub(r"\s+", " ", cli("eval", "--help").stdout)
    assert "Sequences per batch. [default: as in training; at least 1]" in text
    assert "Text encoding. [default: as in training]" in text
    assert "'x' is not a valid integer." in cli("serve", "--port", "x", status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --print-every 0", "--print-every is 0; it must be at least 1"),
        ("inspect --length 1", "--length is 1; it must be from 2 to 20000"),
        ("inspect --length 20001", "--length is 20001; it must be from 2 to 20000"),
        ("serve --pace nan", "--pace is nan; it must be at least 0"),
        ("gradcheck --teacher-forcing-ratio 1.5", "--teacher-forcing-ratio is 1.5; it must be from 0 to 1"),
    ],
)
def test_number_out_of_range(cli, arguments, words):
    assert cli(*arguments.split(), status=2).stderr.splitlines()[-1] == f"Error: {words}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_defaults_without_a_superfluous_fraction(cli, name):
    assert not re.search(r"default:\s+-?\d+\.0[;\]]", cli(name, "--help").stdout)


def test_commands_are_imported_lazily():
    code = (
        "import sys, minichar.cli; print(*[name for name in sys.modules if name.startswith('minichar.cli.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [
        *("minichar.cli.renamed", "minichar.cli.dashes", "minichar.cli.examples")
    ]


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
        (OSError(28, "No space left", "x"), "Error: cannot access 'x': No space left\n"),
        (OSError(5, "Input/output error"), "Error: [Errno 5] Input/output error\n"),
        (PermissionError(13, "Permission denied", "x"), "Error: cannot access 'x': Permission denied\n"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "input.txt", "--rnn-size", 2**20, "--num-layers", 1),
        ("gradcheck", "--batch-size", 10**23),
        ("gradcheck", "--seq-length", 2**62),
    ],
)
def test_network_larger_than_memory(cli, home, arguments):
    before = os.listdir(home)
    result = cli(*arguments, status=1)
    assert result.stderr.startswith("Error: out of memory (")
    assert result.stderr.count("\n") == 1
    assert [name for name in os.listdir(home) if not name.endswith(".minichar.npz")] == before


def test_python_m_minichar(process):
    stdout, stderr = process("--version").communicate(timeout=600)
    assert stdout.startswith("minichar, version ")
    assert stderr == ""


def test_console_script(home):
    script = os.path.join(os.path.dirname(sys.executable), "minichar")
    result = subprocess.run([script, "--help"], capture_output=True, text=True, env=ONE_THREAD, check=True)
    assert result.stdout.startswith("Usage: minichar [OPTIONS] COMMAND [ARGS]...")
