import re
import shlex
from pathlib import Path

import pytest
from toys import history_of, toy_model

from minichar.checkpoints.checkpoint import save
from minichar.cli.card import fenced
from minichar.text.datasets import DATASETS
from minichar.training.recipes import settings_from


@pytest.fixture
def card(cli, home):
    """Return a function that writes a card, and returns its text and the commands in it."""

    def card(path, *options):
        assert cli("inspect", path, "--card", "card.md", *options).stdout == "card.md\n"
        text = (home / "card.md").read_text(encoding="utf-8")
        commands = re.findall(r"^```sh\nminichar (.*)\n```$", text, re.MULTILINE)
        return text, [shlex.split(command) for command in commands]

    return card


def test_its_commands_give_the_sample_and_the_model(card, cli, checkpoint, home):
    text, (sample, train) = card(checkpoint)
    sample[1] = f"cv/{sample[1]}"
    assert f"```text\n{cli(*sample).stdout.rstrip(chr(10))}" in text
    train[train.index("--data") + 1] = "input.txt"
    again = cli(*train, "--checkpoint-dir", "again").stdout.strip()
    assert history_of(again) == history_of(checkpoint)


def test_it_lists_the_losses(card, checkpoint, home):
    text, _ = card(checkpoint)
    best = min(row["val_loss"] for row in history_of(checkpoint))
    assert text.startswith("# input\n")
    assert f"| Validation loss | {best:.4f} nats = " in text
    assert re.search(r"^\| Best n-gram model \| \d\.\d{3} \(\d-gram\) nats \|$", text, re.MULTILINE)
    rows = re.findall(r"^\| (\d+\.\d\d) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert rows == [
        (f"{row['epoch']:.2f}", f"{row['train_loss']:.4f}", f"{row['val_loss']:.4f}")
        for row in history_of(checkpoint)
    ]
    assert str(home) not in text
    assert "input.txt" not in text


def test_a_long_history_is_shortened(card, train):
    path = train("--max-epochs", 4, "--eval-val-every", 4)
    rows = re.findall(r"^\| \d+\.\d\d \| \S+ \| \S+ \|$", card(path)[0], re.MULTILINE)
    assert len(history_of(path)) > len(rows) == 10


def test_an_existing_file_is_overwritten_only_on_request(card, cli, checkpoint, refused):
    Path("card.md").write_text("mine")
    error = refused("inspect", checkpoint, "--card", "card.md")
    assert error == "Error: card.md already exists: choose another name, or use --force"
    assert "## Licence" in card(checkpoint, "--force")[0]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--card", "-"], 1, "cannot write the card to -: its name must end in .md"),
        (["--force"], 2, "--force requires --card"),
        (["--card", "input.txt/card.md"], 1, "cannot write input.txt/card.md"),
    ],
)
def test_invalid_options(refused, checkpoint, arguments, status, words):
    assert words in refused("inspect", checkpoint, *arguments, status=status)


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
    opened, status = [], 0
    monkeypatch.setattr("click.launch", lambda url: opened.append(url) or status)
    result = cli("inspect", checkpoint, "--open")
    assert result.stdout == f"{opened[0]}\n"
    assert "<html" in Path(opened[0]).read_text(encoding="utf-8")
    assert home not in Path(opened[0]).parents
    cli("inspect", checkpoint, "--open", "--html", "a.html", "--length", 20)
    assert opened[1] == "a.html"
    status = 1
    assert (
        "no browser was found: open b.html in one"
        in cli("inspect", checkpoint, "--open", "--html", "b.html").stderr
    )
