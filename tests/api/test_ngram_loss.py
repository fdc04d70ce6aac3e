import numpy as np
import pytest
from toys import TEXT

import minichar
from minichar.errors import MinicharError
from minichar.text.ngram import ngram_losses


def test_the_loss_is_that_of_the_best_or_the_given_n():
    train, val = TEXT[:600], "中" + TEXT[600:]
    characters = sorted({*train, *val})
    ids = [np.array([[characters.index(c) for c in text]]) for text in (train, val)]
    expected = ngram_losses(*ids, len(characters))
    assert minichar.ngram_loss(train, val) == expected.min()
    assert [minichar.ngram_loss(train, val, n) for n in (1, 8)] == [expected[0], expected[7]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "ab"), "train must have at least one character, and val at least two"),
        (("ab", "a"), "train must have at least one character, and val at least two"),
        (("ab", "ab", 0), "n is 0; it must be from 1 to 8"),
        (("ab", "ab", 9), "n is 9; it must be from 1 to 8"),
        (("ab", b"ab"), "val is b'ab'; it must be text"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(MinicharError) as caught:
        minichar.ngram_loss(*arguments)
    assert str(caught.value) == message
