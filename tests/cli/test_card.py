import re
import shlex
from pathlib import Path
from unittest.mock import Mock

import pytest
from toys import history_of, toy_model

from minichar.checkpoints.checkpoint import save
from minichar.cli.card import fenced
from minichar.text.datasets import DATASETS
from minichar.training.recipes import settings_from

ROWS = re.compile(r"^\| (\d+\.\d\d) \| (\S+) \| (\S+) \|$", re.MULTILINE)


@pytest.fixture
def card(cli, home):
    """Return a function that writes a card, and returns its text and the commands in it."""

    def card(path, *options):
        assert cli("inspect", path, "--card", "card.md", *options).stdout == "card.md\n"
        text = (home / "card.md").read_text(encoding="utf-8")
        commands = re.findall(r"^```sh\nminichar (.*)\n```$", text, re.MULTILINE)
        return text, [shlex.split(command) for command in commands]

    return card


def test_it_lists_the_losses_and_its_commands_give_the_sample_and_the_model(card, cli, checkpoint, home):
    text, (sample, train) = card(checkpoint)
    sample[1] = f"cv/{sample[1]}"
    assert f"```text\n{cli(*sample).stdout.rstrip(chr(10))}" in text
    train[train.index("--data") + 1] = "input.txt"
    again = cli(*train, "--checkpoint-dir", "again").stdout.strip()
    assert history_of(again) == (rows := history_of(checkpoint))
    assert text.startswith("# input\n")
    assert f"| Validation loss | {min(row['val_loss'] for row in rows):.4f} nats = " in text
    assert re.search(r"^\| Best n-gram model \| \d\.\d{3} \(\d-gram\) nats \|$", text, re.MULTILINE)
    assert ROWS.findall(text) == [
        (f"{row['epoch']:.2f}", f"{row['train_loss']:.4f}", f"{row['val_loss']:.4f}") for row in rows
    ]
    assert str(home) not in text
    assert "input.txt" not in text


def test_a_long_history_is_shortened(card, train):
    path = train("--max-epochs", 4, "--eval-val-every", 4)
    assert len(history_of(path)) > len(ROWS.findall(card(path)[0])) == 10


def test_an_existing_file_is_overwritten_only_on_request(card, cli, checkpoint, refused):
    Path("card.md").write_text("mine")
    error = refused("inspect", checkpoint, "--card", "card.md")
    assert error == "Error: card.md already exists: choose another name, or use --force"
    assert "## Licence" in card(checkpoint, "--force")[0]


def test_a_model_without_a_record_of_its_training(card, toy):
    text, commands = card(toy)
    assert "no record of the training" in text
    assert "whose licence minichar does not know" in text
    assert len(commands) == 1


@pytest.mark.parametrize("name", ["pydocs", "names"])
def test_the_licence_of_a_known_text(card, home, name):
    model = toy_model()
    data = None if name == "pydocs" else "elsewhere/input.txt"
    model.details = {
        "settings": settings_from({"recipe": "char-rnn"}).to_json() | {"data": data},
        "origin": {"path": "x", "digest": DATASETS[name].sha256},
    }
    save("toy.npz", model)
    text, _ = card("toy.npz")
    assert f"{name} ({DATASETS[name].source}): {DATASETS[name].licence}." in text


def test_markdown_in_a_title_or_a_sample_is_escaped(card, checkpoint, train):
    path = train("--title", "*a* | [b](c)", "--checkpoint-dir", "other")
    assert card(path)[0].startswith("# \\*a\\* \\| \\[b\\](c)\n")
    assert fenced("a\n````\nb") == "`````text\na\n````\nb\n`````"
    assert fenced("a") == "```text\na\n```"


def test_open(cli, checkpoint, monkeypatch, home):
    monkeypatch.setattr("click.launch", launch := Mock(return_value=0))
    path = cli("inspect", checkpoint, "--open").stdout.strip()
    launch.assert_called_once_with(path)
    assert "<html" in Path(path).read_text(encoding="utf-8")
    assert home not in Path(path).parents
    cli("inspect", checkpoint, "--open", "--html", "a.htm", "--length", 20)
    launch.assert_called_with("a.htm")
    launch.return_value = 1
    said = cli("inspect", checkpoint, "--open", "--html", "b.html").stderr
    assert "no browser was found: open b.html in one" in said
