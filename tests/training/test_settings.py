from dataclasses import asdict, fields

import pytest

from minichar.errors import MinicharError
from minichar.training.settings import Settings


def test_the_defaults_are_char_rnns():
    """The options that char-rnn and char-rnn-chinese have, with the values they have there."""
    assert asdict(Settings()) == {
        "data": None,
        "encoding": "utf-8",
        "min_freq": 0,
        "split": "columns",
        "train_frac": 0.95,
        "val_frac": 0.05,
        "model": "lstm",
        "rnn_size": 128,
        "num_layers": 2,
        "dropout": 0.0,
        "gru_reset": "after",
        "seq_length": 50,
        "batch_size": 50,
        "max_epochs": 50,
        "learning_rate": 2e-3,
        "learning_rate_decay": 0.97,
        "learning_rate_decay_after": 10,
        "decay_rate": 0.95,
        "grad_clip": 5.0,
        "clip_norm": 0.0,
        "use_ss": True,
        "start_ss": 1.0,
        "decay_ss": 0.005,
        "min_ss": 0.9,
        "ss_schedule": "linear",
        "ss_feed": "sample",
        "seed": 123,
        "dtype": "float32",
        "eval_val_every": 1000,
        "sample_every": 1,
        "checkpoint_dir": "cv",
        "savefile": "lstm",
        "keep": 0,
    }


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model", ("cnn", "")),
        ("gru_reset", ("within",)),
        ("rnn_size", (0, -1)),
        ("num_layers", (0, -1)),
        ("dropout", (1.0, -0.1, NAN)),
        ("seq_length", (0, -1)),
        ("batch_size", (0, -50)),
        ("max_epochs", (0, -1)),
        ("eval_val_every", (0, -1)),
        ("min_freq", (-1,)),
        ("learning_rate_decay_after", (-1,)),
        ("seed", (-1,)),
        ("sample_every", (-1,)),
        ("keep", (-1,)),
        ("start_ss", (-0.1, 1.1, NAN)),
        ("decay_ss", (-0.1, 1.1, INF)),
        ("min_ss", (-0.1, 1.1, NAN)),
        ("grad_clip", (-1.0, NAN, INF)),
        ("clip_norm", (-1.0, NAN, INF)),
        ("learning_rate", (0.0, -1e-3, NAN, INF)),
        ("learning_rate_decay", (0.0, -1.0, 1.01, NAN)),
        ("decay_rate", (1.0, -0.1, NAN)),
        ("split", ("rows", "")),
        ("ss_schedule", ("cosine",)),
        ("ss_feed", ("beam",)),
        ("dtype", ("float16", "int32")),
        ("savefile", ("", "a/b", "..\\a")),
    ],
)
def test_a_value_out_of_range_names_the_option(name, values):
    for value in values:
        with pytest.raises(MinicharError, match=f"^--{name.replace('_', '-')} is .*; it must be "):
            Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_ss", 0),
        ("min_ss", 1),
        ("decay_ss", 1.0),
        ("grad_clip", 0),
        ("clip_norm", 0.0),
        ("learning_rate_decay", 1),
        ("decay_rate", 0),
        ("learning_rate", 1e300),
        ("seed", 2**200),
        ("keep", 0),
        ("sample_every", 0),
        ("learning_rate_decay_after", 0),
    ],
)
def test_the_ends_of_a_range_are_in_it(name, value):
    assert getattr(Settings(**{name: value}), name) == value


OF_ANOTHER_TYPE = {
    int: ("7", 2.5, None, []),
    float: ("0.5", None, [], 1j),
    bool: ("yes", 1, None),
    str: (7, None, b"x", ["a"]),
    str | None: (7, b"x", ["a"]),
}


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_a_value_of_another_type_names_the_option(field):
    for value in OF_ANOTHER_TYPE[field.type]:
        with pytest.raises(MinicharError, match=f"^--{field.name.replace('_', '-')} is .*; it must be "):
            Settings(**{field.name: value})


@pytest.mark.parametrize("name", ["data", "encoding", "checkpoint_dir", "savefile"])
def test_text_that_no_file_can_be_called(name):
    for value in ("a\0b", "\ud800", "\udfff"):
        with pytest.raises(MinicharError, match=f"^--{name.replace('_', '-')} is .*; it must be text that"):
            Settings(**{name: value})
    assert getattr(Settings(**{name: "é汉\udcff"}), name)  # the last is a byte 0xff in a name on Linux


def test_the_learning_rate_falls_after_an_epoch():
    settings = Settings(learning_rate=0.5, learning_rate_decay=0.5, learning_rate_decay_after=2)
    assert [settings.learning_rate_at(e) for e in range(5)] == [0.5, 0.5, 0.25, 0.125, 0.0625]


def test_the_share_of_true_input():
    settings = Settings(start_ss=0.75, decay_ss=0.25, min_ss=0.125)
    assert [settings.true_share_at(e) for e in range(4)] == [0.75, 0.5, 0.25, 0.125]
    assert Settings(start_ss=0.75, use_ss=False).true_share_at(3) == 1.0
    assert Settings(start_ss=0.5, decay_ss=0.5, min_ss=0, ss_schedule="exponential").true_share_at(2) == 0.125
