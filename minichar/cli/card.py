"""Model cards: Markdown descriptions to publish with trained models."""

import re
from math import log
from pathlib import Path

import numpy as np

from minichar.checkpoints.checkpoint import load_history
from minichar.cli.planned import changed_options, train_command
from minichar.cli.sample import STOP
from minichar.formats.naming import may_have_state
from minichar.history import History
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate
from minichar.text.datasets import DATASETS
from minichar.text.ngram import yardstick_of
from minichar.training.saved import settings_of
from minichar.training.settings import TEXTS, Settings

LENGTH, TEMPERATURE = 400, 0.8
"""Options of the sample."""
SEEDS = range(1, 6)
"""Seeds of the sample to try."""
ROWS = 10
"""Maximum number of evaluations in the table of losses."""
PRIVATE = (
    "recipe",
    *TEXTS,
    "checkpoint_dir",
    "max_time",
    "savefile",
    "title",
    "keep",
    "checkpoint_every",
    "sample_every",
)
"""Settings that do not affect the model; paths, which the card does not reveal; and the time limit, which the
chosen values already reflect."""

CARD = """\
# {title}

A character-level language model, trained with [minichar](https://github.com/minichar/minichar).

| | |
|---|---|
{facts}

## Sample

```sh
{command}
```

{sample}

## Training
{training}
## Licence

{licence}
"""


def model_card(model: CharRNN, path: Path) -> str:
    """Return the card of the model in `path`: its text, options, losses and a sample."""
    settings = settings_of(model, path) if "settings" in model.details else None
    history = (load_history(path) if may_have_state(path) else None) or History()
    seed, text = sample(model)
    options = f"--length {LENGTH} --temperature {TEMPERATURE} --seed {seed}"
    return CARD.format(
        title=escaped(model.title or path.stem),
        facts="\n".join(f"| {name} | {value} |" for name, value in facts(model)),
        command=f"minichar sample {path.name} {options}",
        sample=fenced(text),
        training=training(settings, history),
        licence=licence(model, settings),
    )


def facts(model: CharRNN) -> list[tuple[str, str]]:
    """Return the rows of the first table."""
    rows = [("Model", escaped(model.summary())), ("Text", escaped(model.title or "unknown"))]
    loss = model.details.get("val_loss")
    if isinstance(loss, float):
        rows.append(("Validation loss", f"{loss:.4f} nats = {loss / log(2):.3f} bits per character"))
    if yardstick := yardstick_of(model.details):
        rows.append(("Best n-gram model", f"{yardstick.loss:.3f} nats ({yardstick.n}-gram)"))
    return [*rows, ("Uniform baseline", f"{log(len(model.vocabulary)):.3f} nats")]


def training(settings: Settings | None, history: History) -> str:
    """Return the command that trains a model with the same options, and a table of the losses."""
    parts = []
    if settings:
        options = changed_options(settings, PRIVATE)
        if settings.data:
            options = {"data": "my.txt"} | options
        parts.append(f"```sh\n{train_command(options)}\n```\n")
    if history:
        rows = [history[int(i)] for i in np.unique(np.linspace(0, len(history) - 1, ROWS).round())]
        lines = ["| epoch | training loss | validation loss |", "|---|---|---|"]
        for row in rows:
            val = "-" if row["val_loss"] is None else f"{row['val_loss']:.4f}"
            lines.append(f"| {row['epoch']:.2f} | {row['train_loss']:.4f} | {val} |")
        some = " Some epochs are omitted." if len(rows) < len(history) else ""
        parts.append("\n".join([*lines, "", f"Losses are in nats per character.{some}"]) + "\n")
    return "".join(f"\n{part}" for part in parts) or "\nThe file has no record of the training.\n\n"


def sample(model: CharRNN) -> tuple[int, str]:
    """Return the seed and the text of the sample.

    It is the first one that does not consist mostly of a single character, as in a line of dashes, or else
    the last one.
    """
    for seed in SEEDS:
        text = "".join(generate(model, LENGTH, seed=seed, stop=[STOP], choice=Choice(TEMPERATURE)))
        if 2 * max(map(text.count, text), default=0) <= len(text):
            break
    return seed, text


def licence(model: CharRNN, settings: Settings | None) -> str:
    """Return a note on the licence of the training text."""
    known = [each for each in DATASETS.values() if each.sha256 and each.sha256 == model.text_digest]
    if settings and settings.data is None:
        known = [DATASETS["pydocs"]]
    for dataset in known:
        return f"Licence of the training text, {dataset.name} ({dataset.source}): {dataset.licence}."
    return (
        "The model can reproduce passages of its training text, whose licence minichar does not know. "
        "Replace this paragraph with the licences of the text and of the model before you publish it."
    )


def fenced(text: str) -> str:
    """Return a code block with the text. The fence is longer than any run of backticks in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def escaped(text: str) -> str:
    """Escape characters that have a special meaning in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", text)
