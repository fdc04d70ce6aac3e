"""Named sets of training options. Explicit options override those of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minichar.checks import did_you_mean
from minichar.errors import MinicharError, Option
from minichar.training.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """A set of training options.

    Attributes
    ----------
    description : str
        One line: what the recipe is for.
    options : mapping
        Values that differ from the defaults of `Settings`.
    """

    description: str
    options: Mapping[str, Any]


SUITED = {"batch_size": 0, "seq_length": 0, "eval_val_every": 0, "keep": 3, "patience": 10, "use_ss": False}
"""Sizes and evaluations that suit the text."""

RECIPES = {
    "char-rnn": Recipe(
        "the original char-rnn with its default options",
        {"use_ss": False},
    ),
    "quick": Recipe(
        "a good small model within minutes",
        SUITED | {"max_epochs": 0, "learning_rate": 8e-3, "learning_rate_schedule": "cosine", "warmup": 0.1},
    ),
    "laptop": Recipe(
        "a better model within the hour",
        SUITED
        | {
            "rnn_size": 320,
            "dropout": 0.35,
            "max_epochs": 18,
            "learning_rate_decay": 0.9,
            "learning_rate_decay_after": 8,
        },
    ),
}


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Return settings with the values `given` and, if a recipe is among them, the recipe's other options.

    Raises
    ------
    MinicharError
        If there is no such recipe, or an option is invalid.
    """
    name = given.get("recipe")
    if not name:
        return Settings(**given)
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise MinicharError(
            Option("recipe"), f" is {name!r}; it must be one of {known}{did_you_mean(name, RECIPES)}"
        )
    return Settings(**{**RECIPES[name].options, **given})


def table() -> list[str]:
    """Return a description of each recipe, one line per recipe and one per option."""
    lines = []
    for name, recipe in RECIPES.items():
        lines.append(f"{name:9}  {recipe.description}")
        for option, value in recipe.options.items():
            lines.append(f"{'':9}  {Option(option, value).flag}")
    return lines
