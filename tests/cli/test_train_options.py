"""Test how the options of `minichar train` become settings, and what its help says about them."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

import minichar.cli.train as train_module
from minichar import MinicharError
from minichar.cli import main
from minichar.cli.options import OrAuto
from minichar.cli.train import command
from minichar.training.recipes import RECIPES
from minichar.training.settings import TEXTS, Settings

OTHER = {
    "recipe": "laptop",
    "data": Path("other.txt"),
    "val": Path("val.txt"),
    "test": Path("test.txt"),
    "encoding": "gb18030",
    "min_freq": 2,
    "reset_on": ".\n",
    "split": "tail",
    "train_frac": 0.8,
    "val_frac": 0.1,
    "model": "gru-reset-before",
    "rnn_size": 7,
    "num_layers": 3,
    "dropout": 0.5,
    "weight_drop": 0.4,
    "embedding": 6,
    "layer_norm": True,
    "tied": True,
    "seq_length": 9,
    "batch_size": 11,
    "max_epochs": 4.5,
    "patience": 3,
    "max_time": 1.5,
    "epoch_reset": False,
    "learning_rate": 0.01,
    "warmup": 0.2,
    "learning_rate_decay": 0.5,
    "learning_rate_decay_after": 3,
    "decay_rate": 0.9,
    "weight_decay": 0.2,
    "ema": 0.99,
    "grad_clip": 1.0,
    "clip_norm": 2.0,
    "use_ss": True,
    "start_ss": 0.7,
    "decay_ss": 0.1,
    "min_ss": 0.2,
    "ss_schedule": "inverse-sigmoid",
    "ss_feed": "argmax",
    "seed": 9,
    "dtype": "float64",
    "eval_val_every": 5,
    "max_val_chunks": 7,
    "sample_every": 2,
    "checkpoint_dir": Path("out"),
    "savefile": "mine",
    "title": "Mine, 2nd edition",
    "keep": 1,
    "checkpoint_every": 7.5,
}
"""A non-default value for every option."""


def arguments_for(values, joined):
    """Convert option values to command-line arguments. `joined` separates the words in option names."""
    arguments = []
    for name, value in values.items():
        option = name.replace("_", joined)
        if isinstance(value, bool):
            arguments += [f"--{option}" if value else f"--no{joined}{option}"]
        else:
            arguments += [f"--{option}", str(value)]
    return arguments


@pytest.fixture
def begun(monkeypatch):
    """Patch `begin` so that no training takes place, and return a list of the settings passed to it."""
    caught = []

    def begin(settings, backend, team, started):
        caught.append(settings)
        raise MinicharError("caught")

    monkeypatch.setattr(train_module, "begin", begin)
    return caught


def test_other_has_a_non_default_value_for_every_setting():
    defaults = asdict(Settings())
    assert OTHER.keys() == defaults.keys()
    assert not [name for name, value in OTHER.items() if value == defaults[name]]


@pytest.mark.parametrize(
    ("joined", "left_out"),
    [("-", {"val"}), ("_", {"val"}), ("-", {"split", "train_frac", "val_frac"})],  # these have no effect
)
def test_options_accept_hyphens_and_underscores(cli, begun, joined, left_out):
    given = {name: value for name, value in OTHER.items() if name not in left_out}
    cli("train", *arguments_for(given, joined), status=1)
    assert begun == [Settings(**given)]
    assert {name: type(getattr(begun[0], name)) for name in given} == {
        name: type(value) for name, value in given.items()
    }


def test_options_that_are_not_settings(cli, begun):
    for joined in "-_":
        options = f"--print{joined}every", 7, f"--sample{joined}every", 3, "--quiet", "--log", "x"
        cli("train", *options, status=1)
        assert "no such checkpoint: 'a.npz'" in cli("train", f"--init{joined}from", "a.npz", status=1).stderr
    assert "no such checkpoint: 'a.npz'" in cli("train", "--resume", "a.npz", status=1).stderr


def test_defaults_recipes_and_data(cli, begun):
    cli("train", status=1)
    cli("train", "--recipe", "QUICK", "--rnn-size", 9, status=1)
    assert begun == [Settings(), Settings(recipe="quick", rnn_size=9)]
    assert cli("train", "--recipe", "list").stdout.startswith("quick ")
    error = cli("train", "--data", "a.txt", "--data", "b.txt", status=2).stderr
    assert "Error: --data can be used only once: to train on multiple files, use a directory\n" in error
    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert defaults["print_every"] == 100


AUTOMATIC = [parameter.name for parameter in command.params if isinstance(parameter.type, OrAuto)]


@pytest.mark.parametrize("name", AUTOMATIC)
def test_auto_overrides_the_recipe(cli, begun, name):
    for word in ("auto", "AUTO"):
        cli("train", "--recipe", "char-rnn", f"--{name.replace('_', '-')}", word, status=1)
        recipe = {**RECIPES["char-rnn"].options, "recipe": "char-rnn"}
        assert recipe[name] is not None
        assert begun.pop() == Settings(**recipe | {name: None})


def test_every_option_that_can_be_automatic_accepts_auto():
    automatic = {name for name, default in asdict(Settings()).items() if default is None}
    assert automatic - {*AUTOMATIC} == {*TEXTS, "tied", "layer_norm"}  # the last two are flags


def test_help_is_short():
    """In a terminal with 100 columns, Click uses 98."""
    text = CliRunner().invoke(main, ["train", "--help"], terminal_width=98).stdout
    text, _, _ = text.partition("\n  Examples:\n")
    options = re.findall(r"^  -.*\n(?:   .*\n)*", text, re.MULTILINE)
    assert 20 <= len(options) <= 25
    assert [option for option in options if option.count("\n") > 2] == []


def test_help_shows_defaults_under_headings(cli):
    text = cli("train", "--help-all").stdout
    headings = "Text", "Model", "Training", "Scheduled sampling", "Evaluation and checkpoints", "Output"
    places = [text.index(f"{heading}:") for heading in headings]
    assert places == sorted(places)
    for option, default in (
        ("--num-layers", "2"),
        ("--learning-rate", "auto"),
        ("--tied / --no-tied", "auto"),
        ("--model", "auto"),
        ("--val-frac", "0.05"),
        ("--use-ss / --no-use-ss", "no-use-ss"),
        ("--checkpoint-dir", "cv"),
        ("--print-every", "100"),
        ("--eval-val-every", "auto"),
    ):
        shown = re.search(rf"^  {option} .*\n(?:   .*\n)*", text, re.MULTILINE)[0]
        assert f"[default: {default}" in " ".join(shown.split()).replace("- ", "-"), option
    assert "  --model [auto|gru|gru-reset-before|lstm|rnn]\n" in text
