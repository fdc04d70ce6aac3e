"""Named sets of training options. Options that the user specifies override those in the recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minichar.checks import checked, did_you_mean
from minichar.errors import MinicharError, Option, brief
from minichar.training.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """A set of training options.

    The options that are None are chosen for a training time of `minutes` on the nominal machine
    (`minichar.training.cost`).
    """

    options: Mapping[str, Any]  # values that differ from the defaults of `Settings`
    minutes: float = 3.0


RECIPES = {
    "quick": Recipe({}),
    "laptop": Recipe({}, 15.0),
    "best": Recipe({}, 60.0),
    "char-rnn": Recipe(  # its gru is gru-reset-before
        {
            "model": "lstm",
            "rnn_size": 128,
            "num_layers": 2,
            "dropout": 0.0,
            "embedding": 0,
            "layer_norm": False,
            "tied": False,
            "seq_length": 50,
            "batch_size": 50,
            "max_epochs": 50.0,
            "patience": 0,
            "epoch_reset": False,
            "learning_rate": 2e-3,
            "warmup": 0.0,
            "learning_rate_decay": 0.97,
            "weight_decay": 0.0,
            "ema": 0.0,
            "eval_val_every": 1000,
            "max_val_chunks": 0,
            "keep": 0,
        },
    ),
}

VALIDATION = ("patience", "max_val_chunks")
REPLACED_BY_VAL = ("split", "train_frac", "val_frac")
SS = ("start_ss", "decay_ss", "min_ss", "ss_schedule", "ss_feed")


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Return the settings for a recipe, with the options in `given` taking precedence.

    Raises a `MinicharError` if there is no such recipe, or an option is invalid or would have no effect.
    """
    name = checked("recipe", given.get("recipe", Settings.recipe), str)
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise MinicharError(
            Option("recipe"), f" is {brief(name)}; it must be one of {known}{did_you_mean(name, RECIPES)}"
        )
    settings = Settings(**{**RECIPES[name].options, **with_cell_of_recipe(given)})
    check_effect(settings, given)
    return settings


def with_cell_of_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with minichar's name for char-rnn's GRU."""
    is_original = (given.get("recipe"), given.get("model")) == ("char-rnn", "gru")
    return {**given, "model": "gru-reset-before"} if is_original else {**given}


def check_effect(settings: Settings, given: Mapping[str, Any]) -> None:
    """Raise a `MinicharError` if an option in `given` has no effect with the resulting `settings`."""
    unused = []
    if not settings.data:
        unused.append(("encoding", Option("data")))
    if not settings.val_frac:
        needed = Option("val_frac", Settings.val_frac)
        unused += [(option, needed) for option in VALIDATION if given.get(option)]
    if settings.learning_rate_decay == 1.0 and "learning_rate_decay" not in given:
        unused.append(("learning_rate_decay_after", Option("learning_rate_decay")))
    if not settings.use_ss:
        unused += [(option, Option("use_ss", True)) for option in SS]
    for option in REPLACED_BY_VAL:
        if settings.val and option in given:
            raise MinicharError(Option(option), " has no effect with ", Option("val"), ": omit one of them")
    for option, needed in unused:
        if option in given:
            remedy = ": add ", needed, " or omit ", Option(option)
            raise MinicharError(Option(option), " has no effect without ", needed, *remedy)
