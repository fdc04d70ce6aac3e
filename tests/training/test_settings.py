import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from minichar.errors import MinicharError
from minichar.training.recipes import RECIPES
from minichar.training.settings import TEXTS, Settings

AUTOMATIC = {name for name, default in asdict(Settings()).items() if default is None} - {*TEXTS}
NAN, INF = float("nan"), float("inf")


OUT_OF_RANGE = {
    "rnn_size num_layers seq_length batch_size eval_val_every": (0, -1),
    "embedding patience max_val_chunks min_freq learning_rate_decay_after seed sample_every keep": (-1,),
    "dropout weight_drop warmup decay_rate ema": (1.0, -0.1, -1, NAN),
    "start_ss decay_ss min_ss": (-0.1, 1.1, NAN, INF),
    "grad_clip clip_norm weight_decay max_time checkpoint_every": (-0.1, -1, NAN, INF),
    "max_epochs": (0, -1, NAN, 1e16),
    "learning_rate": (0.0, -1e-3, -1.0, NAN, INF),
    "learning_rate_decay": (0.0, -1.0, 1.01, NAN),
    "model": ("cnn", "", "auto"),
    "split": ("rows", ""),
    "ss_schedule": ("cosine",),
    "ss_feed": ("beam",),
    "dtype": ("float16", "int32"),
    "savefile": ("a/b", "..\\a", "x" * 101, "汉" * 34),
    "title": ("two\nlines", "x" * 101),
}


@pytest.mark.parametrize("names", OUT_OF_RANGE)
def test_a_value_out_of_range_names_the_option(names):
    for name, value in product(names.split(), OUT_OF_RANGE[names]):
        with pytest.raises(MinicharError, match=f"^{name} is .*; it must be ") as caught:
            Settings(**{name: value})
        flags = caught.value.with_flags
        assert flags.startswith(f"--{name.replace('_', '-')} is ")
        assert str(caught.value).endswith(", or None") == flags.endswith(", or auto") == (name in AUTOMATIC)


def test_the_limits_of_a_range_are_allowed():
    ones = ("learning_rate_decay", "min_ss", "rnn_size", "num_layers", "seq_length", "batch_size", "decay_ss")
    zeros = ("start_ss", "grad_clip", "clip_norm", "decay_rate", "ema", "dropout", "weight_drop", "embedding")
    zeros += ("patience", "warmup", "weight_decay", "max_val_chunks", "min_freq", "learning_rate_decay_after")
    limits = {"eval_val_every": 1, "max_epochs": 1e-9, "learning_rate": 1e300, "seed": 2**200}
    limits |= dict.fromkeys(ones, 1) | dict.fromkeys((*zeros, "sample_every", "keep", "checkpoint_every"), 0)
    settings = Settings(**limits)
    assert {name: getattr(settings, name) for name in limits} == limits
    assert Settings(seed=0, max_time=0) == Settings(seed=0)


WRONG_TYPES = {
    int: ("7", 2.5, [], True, float("nan")),
    float: ("x", [], 1j, False, 10**400),
    bool: ("yes", 1),
    str: (7, b"x", ["a"]),
    Path: (7, b"x", ["a"]),
    tuple[Path, ...]: (7, b"x", ["a", 7]),
    Path | None: (7, b"x", ["a"]),
}


@pytest.mark.parametrize(("name", "kind"), get_type_hints(Settings).items())
def test_a_value_of_the_wrong_type_names_the_option(name, kind):
    for value in WRONG_TYPES[kind]:
        with pytest.raises(MinicharError, match=f"^{name} is .*; it must be "):
            Settings(**{name: value})


@pytest.mark.parametrize("name", asdict(Settings()))
def test_only_automatic_values_and_texts_are_none(name):
    if name == "data":
        assert Settings(data=None).data == ()
    elif name in AUTOMATIC | {*TEXTS}:
        assert getattr(Settings(**RECIPES["char-rnn"].options | {name: None}), name) is None
    else:
        with pytest.raises(MinicharError, match=f"^{name} is None; it must be "):
            Settings(**{name: None})


def test_values_are_converted_to_the_declared_type():
    """Checkpoints store settings as JSON, and resuming compares them."""
    given = {"rnn_size": np.int64(7), "dropout": np.float32(0.5), "grad_clip": 1, "data": "a.txt"}
    values = [getattr(Settings(**given), name) for name in given]
    assert [type(value) for value in values] == [int, float, float, tuple]
    assert values[-1] == (Path("a.txt"),)


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [
        ("90s", 1.5),
        ("5m", 5),
        ("2H", 120),
        ("1h30m", 90),
        ("1.5h", 90),
        ("1h 30 min", 90),
        ("3", 3),
        (2, 2),
    ],
)
def test_times(typed, minutes):
    settings = Settings(max_time=typed, checkpoint_every=typed)
    seconds = minutes if typed in ("3", 2) else 60 * minutes
    assert (settings.max_time, settings.checkpoint_every) == (minutes, seconds)


@pytest.mark.parametrize("typed", ["-5m", "nan", "inf", "1:30", "1h30", "m", "5ms", ""])
def test_invalid_times(typed):
    with pytest.raises(MinicharError, match=r"^max_time is .*; it must be "):
        Settings(max_time=typed)


def test_settings_can_be_restored_from_json():
    settings = Settings(
        data=["texts/a.txt", Path("b.txt")], checkpoint_dir=Path("out"), model="gru", dropout=0.25
    )
    stored = json.loads(json.dumps(settings.to_json()))
    assert (stored["data"], stored["checkpoint_dir"]) == (["texts/a.txt", "b.txt"], "out")
    assert Settings(**stored) == settings


@pytest.mark.parametrize("name", [*TEXTS, "encoding", "checkpoint_dir", "savefile"])
def test_characters_that_are_not_allowed_in_a_file_name(name):
    for value in ("a\0b", "\ud800", "\udfff"):
        with pytest.raises(MinicharError, match=f"^{name} is .*; it must be text without"):
            Settings(**{name: value})
    assert getattr(Settings(**{name: "é汉\udcff"}), name)  # \udcff is byte 0xff in a Linux file name
