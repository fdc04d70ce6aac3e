"""Helpers for the tests of `minichar.text`."""

import pytest

from minichar.errors import MinicharError
from minichar.text.corpus import load_corpus


def text_of(corpus):
    """Return the text of a corpus, decoded from its ids."""
    return corpus.vocabulary.decode(corpus.ids)


def error_of(data, **settings):
    """Return the one-line error raised when `data` is loaded."""
    with pytest.raises(MinicharError) as caught:
        load_corpus(data, **settings)
    line = str(caught.value)
    assert "\n" not in line
    return line
