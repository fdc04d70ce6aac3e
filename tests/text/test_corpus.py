import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from text_helpers import text_of

from minichar.errors import MinicharError
from minichar.text.corpus import load_corpus
from minichar.text.joining import Text
from minichar.text.pydocs import pydocs_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.text import read_corpus

VERSE = "西陸蟬聲唱，南冠客思侵。\n那堪玄鬢影，來對白頭吟。\n"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_text(VERSE, encoding="gb18030")
    return path


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Change to an empty directory, and return the path of the default text."""
    monkeypatch.chdir(tmp_path)
    return Path("data/pydocs/input.txt")


def test_a_text_file_is_encoded(text_file, monkeypatch):
    monkeypatch.delattr("threading.Thread.start")  # some platforms have no threads
    corpus = load_corpus(text_file, encoding="GB18030")
    assert text_of(corpus) == VERSE
    assert corpus.ids.dtype == np.uint8
    assert corpus.vocabulary.characters == "".join(sorted(set(VERSE)))
    assert corpus.path == str(text_file)
    assert corpus.digest == hashlib.sha256(text_file.read_bytes()).hexdigest()
    assert corpus.notes == ()


def test_min_freq_makes_rare_characters_unknown(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("aabbc")
    corpus = load_corpus(path, min_freq=2)
    assert corpus.vocabulary == Vocabulary("ab", unknown=True)
    assert corpus.ids.tolist() == [0, 0, 1, 1, 2]
    note = "replaced 1 of 3 distinct characters with the unknown token (20.00% of the text)"
    assert corpus.notes == load_corpus(path, vocabulary=corpus.vocabulary).notes == (note,)
    assert corpus.distinct == 3
    assert load_corpus(path, min_freq=1).notes == ()
    assert load_corpus(path).vocabulary == Vocabulary("abc")


def test_a_given_vocabulary_is_used(text_file):
    vocabulary = Vocabulary("\n吟唱白頭", unknown=True)
    corpus = load_corpus(text_file, encoding="gb18030", vocabulary=vocabulary, min_freq=3)
    assert corpus.vocabulary is vocabulary
    assert text_of(corpus) == "".join(c if c in vocabulary else "\ufffd" for c in VERSE)


def test_a_given_vocabulary_without_an_unknown_id_must_contain_every_character(text_file):
    with pytest.raises(MinicharError) as caught:
        load_corpus(text_file, encoding="gb18030", vocabulary=of(set(VERSE) - set("\n吟")))
    line = str(caught.value)
    assert r"not in the vocabulary: '\n' (U+000A) 2 times, '吟' (U+541F) 1 time; " in line
    assert "min_freq=1" in line
    everything = of(VERSE + "more")
    assert text_of(load_corpus(text_file, encoding="gb18030", vocabulary=everything)) == VERSE


def of(characters):
    return Vocabulary("".join(sorted(set(characters))))


def test_only_training_saves_the_default_text_and_nothing_overwrites_it(path):
    corpus = load_corpus(encoding="utf-16")
    assert (text_of(corpus), corpus.path, os.listdir()) == (pydocs_text(), "pydocs (in memory)", [])
    for read in (read_corpus, lambda settings: load_corpus(settings.data)):
        corpus = read(Settings())
        assert text_of(corpus) == pydocs_text() == path.read_text(encoding="utf-8")
        assert (corpus.path, corpus.notes) == (str(path), ())
    path.write_text("mine now")
    for read in (read_corpus, lambda settings: load_corpus(settings.data)):
        assert text_of(read(Settings())) == "mine now"


@pytest.mark.usefixtures("path")
def test_the_default_text_is_available_on_a_read_only_disk():
    Path("data").write_text("not a directory")
    corpus = read_corpus(Settings())
    assert text_of(corpus) == pydocs_text()
    assert corpus.path == "pydocs (in memory)"
    assert os.listdir() == ["data"]


@pytest.mark.usefixtures("text_cache")
@pytest.mark.parametrize("read", [load_corpus, lambda path: read_corpus(Settings(data=path))])
def test_a_text_that_cannot_be_read_is_not_hashed(read, text_file, monkeypatch):
    """Hashing a large file takes seconds, and the error can be in its first block."""
    monkeypatch.delattr(Text, "digest")
    text_file.write_bytes(b"PK\0\0")
    with pytest.raises(MinicharError, match="binary file"):
        read(text_file)
