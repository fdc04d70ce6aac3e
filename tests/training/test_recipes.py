import pytest

from minichar.errors import MinicharError
from minichar.training.recipes import RECIPES, settings_from, table
from minichar.training.settings import Settings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_changes_the_defaults(name):
    settings, default = settings_from({"recipe": name}), Settings()
    changed = {field for field, value in vars(settings).items() if value != getattr(default, field)}
    assert changed == {"recipe", *RECIPES[name].options}
    assert all(getattr(settings, option) == value for option, value in RECIPES[name].options.items())


def test_explicit_options_override_the_recipe():
    settings = settings_from({"recipe": "quick", "learning_rate": 0.5, "rnn_size": 7})
    assert (settings.learning_rate, settings.rnn_size, settings.warmup) == (0.5, 7, 0.1)


@pytest.mark.parametrize("given", [{}, {"recipe": ""}, {"seed": 5}])
def test_without_a_recipe_the_defaults_are_used(given):
    assert settings_from(given) == Settings(**given)


def test_the_recipe_of_char_rnn_has_its_original_defaults():
    """The options of ``train.lua``, under their names in char-rnn."""
    settings = settings_from({"recipe": "char-rnn"})
    assert (settings.model, settings.rnn_size, settings.num_layers) == ("lstm", 128, 2)
    assert (settings.learning_rate, settings.learning_rate_decay) == (2e-3, 0.97)
    assert (settings.learning_rate_decay_after, settings.decay_rate) == (10, 0.95)
    assert (settings.dropout, settings.seq_length, settings.batch_size) == (0, 50, 50)
    assert (settings.max_epochs, settings.grad_clip) == (50, 5)
    assert (settings.train_frac, settings.val_frac) == (0.95, 0.05)
    assert (settings.seed, settings.eval_val_every) == (123, 1000)
    assert settings.teacher_forcing_ratio_at(40) == 1.0


def test_an_unknown_recipe_suggests_a_known_one():
    with pytest.raises(MinicharError) as caught:
        settings_from({"recipe": "quik"})
    assert str(caught.value) == (
        "recipe is 'quik'; it must be one of char-rnn, quick, laptop; did you mean 'quick'?"
    )


def test_the_table_lists_every_option_as_typed():
    lines = table()
    for name, recipe in RECIPES.items():
        assert any(line.split(maxsplit=1) == [name, recipe.description] for line in lines)
    assert "           --no-use-ss" in lines
    assert "           --learning-rate-schedule cosine" in lines
