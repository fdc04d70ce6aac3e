import pytest

from minichar.errors import MinicharError
from minichar.sweep.space import Dimension, check_space, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=5e-4..2e-2:log", Dimension("learning_rate", (5e-4, 2e-2), True, True)),
        ("--rnn-size=64, 128", Dimension("rnn_size", (64, 128))),
        ("num-layers=1..3", Dimension("num_layers", (1, 3), True)),
        ("tied=true,False", Dimension("tied", (True, False))),
        ("model=gru,lstm", Dimension("model", ("gru", "lstm"))),
        ("rnn_size=AUTO,64,auto", Dimension("rnn_size", (None, 64))),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected == parse(str(expected))
    assert [type(value) for value in parse(text).values] == [type(value) for value in expected.values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnn_sise=64", "there is no option 'rnn_sise' to search over; did you mean 'rnn_size'?"),
        ("rnn_size", "--search rnn_size has an empty value"),
        ("rnn_size=64,x", "--rnn-size is 'x'; it must be an integer"),
        ("rnn_size=8,", "--search rnn_size=8, has an empty value: write a list without spaces, such"),
        ("dropout=0.5..0.5", "--search dropout=0.5..0.5 is not a range: write a smaller and a larger number"),
        ("model=gru..lstm", "is not a range"),
        ("dropout=0..0.5:log", "--search dropout=0..0.5:log is not a range"),
        ("rnn_size=8,16:log", "--search rnn_size=8,16:log is not a range"),
        ("dropout=auto..0.5", "--search dropout=auto..0.5 is not a range"),
        ("seed=auto,2", "--seed is 'auto'; it must be an integer"),
        ("tied=auto,true", "--tied is 'auto'; it must be true or false"),
        ("val_frac=0.1,0.2", "--val-frac cannot be searched over: set it to one value"),
    ],
)
def test_invalid_dimensions(text, message):
    with pytest.raises(MinicharError) as raised:
        parse(text)
    assert message in raised.value.with_flags


@pytest.mark.parametrize(
    ("search", "given", "message"),
    [
        (["rnn_size=0..4"], {}, "rnn_size is 0; it must be from 1"),
        (["learning_rate=0.1,0.01,-1"], {}, "learning_rate is -1; it must be above 0, or None"),
        (["dropout=0..1"], {}, "dropout is 1; it must be at least 0 and below 1"),
        (["use_ss=true,false", "min_ss=0.1,0.2"], {}, "min_ss has no effect without use_ss=True"),
        (["rnn_size=4,8"], {"rnn_size": 8}, "rnn_size is specified more than once"),
        (["rnn_size=4,8", "rnn_size=16,32"], {}, "rnn_size is specified more than once"),
    ],
)
def test_values_that_training_would_reject(search, given, message):
    with pytest.raises(MinicharError, match=message):
        check_space([parse(text) for text in search], given)


def test_values_that_training_accepts():
    check_space([parse("use_ss=true,true"), parse("min_ss=0.1,0.2"), parse("dropout=0..0.5")], {})
    check_space([parse("model=auto,gru")], {"rnn_size": None})
