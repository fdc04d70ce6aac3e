import pytest

from minichar.errors import MinicharError
from minichar.training.recipes import RECIPES, settings_from
from minichar.training.settings import Settings


def test_a_recipe_changes_the_defaults_and_explicit_options_override_it():
    for name, recipe in RECIPES.items():
        assert settings_from({"recipe": name}) == Settings(recipe=name, **recipe.options)
        assert all(value != getattr(Settings(), option) for option, value in recipe.options.items())
    settings = settings_from({"recipe": "char-rnn", "learning_rate": 0.5, "rnn_size": 7})
    assert (settings.learning_rate, settings.rnn_size, settings.max_epochs) == (0.5, 7, 50)


def test_the_default_recipe_is_quick():
    assert settings_from({"seed": 5}) == settings_from({"seed": 5, "recipe": "quick"}) == Settings(seed=5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"recipe": "laptop", "learning_rate_decay_after": 3},
            "learning_rate_decay_after has no effect without learning_rate_decay",
        ),
        ({"encoding": "gb18030"}, "encoding has no effect without data"),
        ({"start_ss": 0.9}, "start_ss has no effect without use_ss=True"),
        ({"recipe": "char-rnn", "ss_feed": "argmax"}, "ss_feed has no effect without use_ss=True"),
        ({"patience": 5, "val_frac": 0.0}, "patience has no effect without val_frac=0.05"),
        ({"max_val_chunks": 9, "val_frac": 0.0}, "max_val_chunks has no effect without val_frac=0.05"),
    ],
)
def test_an_option_without_an_effect_is_an_error(given, message):
    with pytest.raises(MinicharError) as caught:
        settings_from(given)
    option, _, needed = message.partition(" has no effect without ")
    assert str(caught.value) == f"{message}: add {needed} or omit {option}"
    needed = {"use_ss": True, "model": "gru", "data": "my.txt"}
    needed |= {"learning_rate_decay": 0.9, "val_frac": 0.05}
    settings_from(given | needed)


@pytest.mark.parametrize("option", [{"split": "columns"}, {"train_frac": 0.95}, {"val_frac": 0.05}])
def test_a_validation_file_replaces_the_split(option):
    (name,) = option
    with pytest.raises(MinicharError, match=f"^{name} has no effect with val: omit one of them$"):
        settings_from({"val": "val.txt", **option})
    settings_from({"val": "val.txt", "patience": 5})
    settings_from({"test": "test.txt", **option})


@pytest.mark.parametrize(
    "given",
    [
        {"recipe": "char-rnn", "learning_rate_decay_after": 3},  # the recipe has a decay
        {"learning_rate_decay": 1.0, "learning_rate_decay_after": 5},  # a sweep may try a constant rate
        {"patience": 0, "max_val_chunks": None, "val_frac": 0.0},
    ],
)
def test_options_that_have_an_effect_or_are_off(given):
    settings = settings_from(given)
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize("model", ["gru-reset-before", "lstm", None])
def test_the_gru_of_char_rnn_resets_before_the_product(model):
    assert settings_from({"recipe": "char-rnn", "model": "gru"}).model == "gru-reset-before"
    assert settings_from({"recipe": "quick", "model": "gru"}).model == "gru"
    assert settings_from({"recipe": "char-rnn", "model": model}).model == model


def test_the_recipe_of_char_rnn_has_its_original_defaults():
    """Compare the recipe with the default options of char-rnn's ``train.lua``."""
    settings = settings_from({"recipe": "char-rnn"})
    original = {"model": "lstm", "rnn_size": 128, "num_layers": 2, "dropout": 0, "seq_length": 50}
    original |= {"learning_rate": 2e-3, "learning_rate_decay": 0.97, "learning_rate_decay_after": 10}
    original |= {"decay_rate": 0.95, "batch_size": 50, "max_epochs": 50, "grad_clip": 5, "seed": 123}
    original |= {"train_frac": 0.95, "val_frac": 0.05, "eval_val_every": 1000}
    without = ("layer_norm", "weight_drop", "patience", "warmup", "ema", "epoch_reset", "weight_decay")
    original |= dict.fromkeys((*without, "embedding", "tied", "max_val_chunks", "keep", "use_ss"), 0)
    assert {name: getattr(settings, name) for name in original} == original


def test_an_unknown_recipe_suggests_a_known_one():
    with pytest.raises(MinicharError) as caught:
        settings_from({"recipe": "quik"})
    assert str(caught.value) == (
        "recipe is 'quik'; it must be one of quick, laptop, best, char-rnn; did you mean 'quick'?"
    )
