"""Test how the options of `minichar train` become settings, and what its help says about them."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

import minichar.cli.train as train_module
from minichar import MinicharError
from minichar.checks import declared
from minichar.cli import main
from minichar.cli.options import OrAuto
from minichar.cli.train import command
from minichar.training.recipes import RECIPES
from minichar.training.settings import HELD_OUT, Settings


def other_values():
    """Return a value for every setting that is neither its default nor that of another setting."""
    kinds, defaults, values = declared(Settings), asdict(Settings()), {}
    types = {parameter.name: parameter.type for parameter in command.params}
    for i, (name, default) in enumerate(defaults.items()):
        names = getattr(getattr(types[name], "kind", types[name]), "choices", None)
        if names:
            values[name] = next(each for each in names if each != default)
        elif kinds[name][0] is bool:
            values[name] = not default
        else:
            texts = Path("a"), Path("b")
            by_kind = {int: 100 + i, float: 0.3 + i / 1000, str: name, tuple[Path, ...]: texts}
            values[name] = by_kind.get(kinds[name][0], Path(name))
    return values


OTHER = other_values()


def arguments_for(values, joined):
    """Convert option values to command-line arguments. `joined` separates the words in option names."""
    arguments = []
    for name, value in values.items():
        option = name.replace("_", joined)
        if isinstance(value, bool):
            arguments += [f"--{option}" if value else f"--no{joined}{option}"]
        else:
            each = value if isinstance(value, tuple) else [value]
            arguments += [word for one in each for word in (f"--{option}", str(one))]
    return arguments


@pytest.fixture
def begun(monkeypatch):
    """Patch `begin` so that no training takes place, and return a list of the settings passed to it."""
    caught = []

    def begin(settings, backend, **others):
        caught.append(settings)
        raise MinicharError("caught")

    monkeypatch.setattr(train_module, "begin", begin)
    return caught


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


def test_defaults_and_recipes(cli, begun):
    cli("train", status=1)
    cli("train", "--recipe", "QUICK", "--rnn-size", 9, status=1)
    assert begun == [Settings(), Settings(recipe="quick", rnn_size=9)]


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
    assert automatic - {*AUTOMATIC} == {*HELD_OUT, "tied", "layer_norm"}  # the last two are flags


def test_help_is_short():
    """In a terminal with 80 columns, Click uses 78."""
    text = CliRunner().invoke(main, ["train", "--help"], terminal_width=78).stdout
    text, _, _ = text.partition("\n  Examples:\n")
    options = re.findall(r"^  -.*\n(?:   .*\n)*", text, re.MULTILINE)
    assert 20 <= len(options) <= 25
    assert [option for option in options if option.count("\n") > 2] == []


def test_help_shows_defaults_under_headings(cli):
    text = cli("train", "--help-all").stdout
    headings = "Text", "Model", "Training", "Scheduled sampling", "Evaluation and checkpoints", "Output"
    places = [text.index(f"{heading}:") for heading in headings]
    assert places == sorted(places)
    for option, default in {
        "--num-layers": "auto",
        "--learning-rate": "auto",
        "--tied / --no-tied": "auto",
        "--val-frac": "0.05",
        "--use-ss / --no-use-ss": "no-use-ss",
        "--checkpoint-dir": "cv",
        "--print-every": "100",
    }.items():
        shown = re.search(rf"^  {option} .*\n(?:   .*\n)*", text, re.MULTILINE)[0]
        assert f"[default: {default}" in " ".join(shown.split()).replace("- ", "-"), option
    assert "  --model [auto|gru|gru-reset-before|lstm|rnn]\n" in text
