"""Test that command lines of char-rnn, torch-rnn and nanoGPT run, and that guesses are only suggested."""

import re
import shlex
from importlib import import_module
from itertools import product

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TEXT

from minichar.checkpoints.checkpoint import load_training
from minichar.cli import COMMANDS, main
from minichar.cli.usage import BY_VALUE, EXACT, EXPLAINED, GUESSED, IGNORED, REFUSED, options_of, translate

FORMULA = "use --max-epochs; an epoch has (length of the text) / (batch size × sequence length) steps"
SCHEDULE = "the schedule is set by --warmup and --learning-rate-decay"


@pytest.fixture
def parsed(cli, monkeypatch):
    """Return a function that returns what a command would run with, and its messages."""

    def parsed(given):
        words = shlex.split(given)
        command = import_module(f"minichar.cli.{words[0]}").command
        with monkeypatch.context() as patch:
            patch.setattr(command, "callback", lambda **options: None)
            return cli(*words).stderr.splitlines()

    return parsed


@pytest.mark.parametrize(
    ("given", "read_as", "ignored"),
    [
        ("train -data_dir x -rnn_size 512 -num_layers 2", "train --data x --rnn-size 512 --num-layers 2", ""),
        ("train -gpuid -1 -model_type gru -seed -1", "train --device cpu --model gru --seed -1", ""),
        (
            "train -checkpoint_every 9 --checkpoint_every 5",
            "train --eval-val-every 9 --checkpoint_every 5",
            "",
        ),
        (
            "train -checkpoint_name 'my cv/mine' -val y",
            "train --checkpoint-dir 'my cv' --savefile mine --val y",
            "",
        ),
        ("train -opencl 0 -batchnorm 0 -gpu_backend cuda --Max-Epochs 3", "train --max-epochs 3", ""),
        (
            "train -lr_decay_every 5 --optimizer=adam --resume -rnn_size 8 --quiet --compile",
            "train --resume --rnn-size 8 --quiet",
            f"-lr_decay_every, --optimizer, --compile; {SCHEDULE}; the optimiser is always RMSprop",
        ),
        (
            "train --dataset=shakespeare_char --lr=1",
            "train --data data/tinyshakespeare --learning-rate 1",
            "",
        ),
        ("sample cv -sample 0 -verbose 0 --gpuid -1", "sample cv --argmax --quiet --device cpu", ""),
        ("sample -sample 1 --sample --LENGTH=5", "sample --sample --sample --length 5", ""),
        ("sample -primetext 'a  b' -- -sample", "sample --primetext 'a  b' -- -sample", ""),
        ("sample -checkpoint x.npz -start_text ''", "sample x.npz --primetext ''", ""),
        ("sample --out_dir=out --max_new_tokens=5", "sample out --length 5", ""),
    ],
)
def test_a_command_line_of_another_program_is_read_as_minichars(parsed, given, read_as, ignored):
    shown = [f"read as: minichar {read_as}"]
    assert parsed(given) == shown + [f"warning: no equivalent: {ignored}"] * bool(ignored)


@pytest.mark.parametrize(
    "given",
    [
        "-data_dir input.txt -rnn_size 8 -num_layers 2 -dropout 0.5 -max_epochs 1 -gpuid -1",
        "-data_dir input.txt -model_type lstm -rnn_size 8 -wordvec_size 4 -gpu -1 -max_epochs 1",
        "--data_dir=input.txt --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=8 "
        "--batch_size=2 --n_layer=2 --n_embd=8 --max_iters=40 --lr_decay_iters=40 --dropout=0.0",
    ],
    ids=["char-rnn", "torch-rnn", "nanoGPT"],
)
def test_a_command_line_of_another_program_trains(cli, home, given):
    result = cli("train", *given.split())
    assert result.stderr.startswith("read as: minichar train ")
    model, state = load_training(home / result.stdout.strip())
    assert (model.config.rnn_size, model.config.num_layers) == (8, 2)
    if "max_iters" in given:
        assert state.progress.iteration == 40
    text = cli("sample", "-checkpoint", "cv", "-gpuid", "-1", "-length", "30", "-start_text", "a").stdout
    assert re.fullmatch(r"(?s)a.{30}\n?", text)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("train -rnn_size 8 -d x --bs 4", "train --rnn-size 8 --data x --batch-size 4"),
        ("train --input 'a b' --save-dir cv", "train --data 'a b' --checkpoint-dir cv"),
        (
            "train --n_head=4 --lr 1",
            "train --learning-rate 1 (no equivalent: --n_head; recurrent networks have no attention heads)",
        ),
        ("train -batchnorm 1 --compile", "train (no equivalent: -batchnorm, --compile; use --layer-norm)"),
        (
            "train -input_h5 a.h5 -input_json a.json",
            "train (no equivalent: -input_h5, -input_json; specify the text itself with --data)",
        ),
        ("train -gpu_backend opencl", "train (no equivalent: -gpu_backend; use --device opencl:0)"),
        ("sample -t .5 -p Once cv", "sample --temperature .5 --primetext Once cv"),
        ("serve -p 80", "serve --port 80"),
        ("eval --model cv", "eval cv"),
        ("inspect --data=x", "inspect --text x"),
        ("inspect --output x", "inspect --html x"),
        ("data get -f pydocs", "data get --force pydocs"),
    ],
)
def test_guesses_and_options_that_change_the_model_or_the_text_are_only_suggested(refused, given, answer):
    error = refused(*shlex.split(given), status=2)
    assert re.fullmatch(f"Error: No such option '-.*'. Use: minichar {re.escape(answer)}", error)
    assert not re.search("'-rnn_size'|'--lr'", error), "the error names an option that can be translated"


@pytest.mark.parametrize(
    ("steps", "options", "epochs"),
    [
        ("600", ["--batch-size", "2", "--seq-length", "10"], "10"),
        ("600", ["--batch-size", "2", "--seq-length", "10", "--train-frac", "0.5"], "18.75"),
        ("1", ["--batch-size", "2", "--seq-length", "10"], "0.0166667"),
        ("640", ["--batch-size", "2", "--seq-length", "10", "--val", "input.txt"], "10"),
    ],
)
def test_steps_are_converted_to_epochs_of_the_text(parsed, home, steps, options, epochs):
    (home / "input.txt").write_text((TEXT * 2)[:1281])
    for command in ("train", "sweep"):
        words = ["--data", "input.txt", *options]
        (line,) = parsed(shlex.join([command, *words, "--steps", steps]))
        assert line == f"read as: minichar {shlex.join([command, '--max-epochs', epochs, *words])}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", 9],
        ["--data", "absent.txt", "--steps", 9],
        ["--data", "-", "--steps", 9],
        ["--data", "input.txt", "--steps", "many"],
        ["--data", "input.txt", "--steps", 0],
        ["--data", "input.txt", "--batch-size", -1, "--steps", 9],
        ["--data", "input.txt", "--steps", 9, "--xyzzy"],
        ["--data", "input.txt", "--resume", "cv", "--steps", 9],
    ],
)
def test_steps_are_explained_if_the_text_is_not_known(refused, arguments):
    assert refused("train", *arguments, status=2) == f"Error: No such option '--steps': {FORMULA}"


def commands():
    """Yield the name and a context of each command, with the names of the help option."""
    parent = click.Context(main, **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(parent, name)
        for below in getattr(command, "commands", {"": command}).values():
            yield name, click.Context(below, info_name=name, parent=parent)


def test_the_command_to_use_has_no_unknown_option():
    """Every name in the tables is answered by some command, and every printed command can be parsed."""
    names = {*EXACT, *GUESSED, *BY_VALUE, *EXPLAINED, *IGNORED, *REFUSED}
    answered = {*EXPLAINED}
    for _, ctx in commands():
        options, parser = options_of(ctx), ctx.command.make_parser(ctx)
        for key, value in product(names, ([], ["0"], ["5"], ["my.txt"], ["lstm"], ["a/b"])):
            for part in translate([f"-{key}", *value], options):
                if part.name and part.table is not EXPLAINED:
                    answered.add(key)
                    assert parser.parse_args([*part.words])[1] in ([], value)  # raises if one is unknown
    assert names == answered


@pytest.mark.parametrize("name", ["train", "sample", "plot"])
@settings(max_examples=50)
@given(data=st.data())
def test_translation_finds_the_options_that_the_parser_does_not_know(name, data):
    """Values, such as the -1 in ``--seed -1``, are told from options exactly as in Click."""
    ctx = dict(commands())[name]
    options = options_of(ctx)
    odd = ["-1", "--Length", "--seed=-1", "-o", "-ofile", "--no_such", "-", "--", "", "x", "-x=3", "a b"]
    words = data.draw(st.lists(st.sampled_from([*options, *odd])))
    found = [part.name for part in translate(words, options) if part.name]
    try:
        ctx.command.make_parser(ctx).parse_args([*words])
    except click.NoSuchOption:
        assert found
    except click.UsageError:
        pass
    else:
        assert not found
