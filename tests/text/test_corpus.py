import hashlib
import io
import json
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from text_helpers import text_of

from minichar.errors import MinicharError
from minichar.text import cache
from minichar.text.corpus import load_corpus
from minichar.text.joining import Text
from minichar.text.pydocs import pydocs_text, uncleaned_pydocs_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.text import read_corpus

VERSE = "西陸蟬聲唱，南冠客思侵。\n那堪玄鬢影，來對白頭吟。\n"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_text(VERSE, encoding="utf-8")
    return path


@pytest.fixture
def cache_file(text_file):
    load_corpus(text_file)
    return text_file.with_name("verse.txt.minichar.npz")


@pytest.fixture
def no_encoding(monkeypatch):
    """Make encoding fail, so that the ids must come from the cache."""

    def fail(*args):
        raise AssertionError("the text was encoded again")

    monkeypatch.setattr(Text, "encode", fail)


def test_a_text_file_is_encoded(text_file):
    corpus = load_corpus(text_file)
    assert text_of(corpus) == VERSE
    assert corpus.ids.dtype == np.uint8
    assert corpus.vocabulary.characters == "".join(sorted(set(VERSE)))
    assert corpus.path == str(text_file)
    assert corpus.digest == hashlib.sha256(VERSE.encode()).hexdigest()
    assert corpus.notes == ()


def test_input_txt_is_read_from_a_directory(tmp_path, text_file):
    text_file.rename(tmp_path / "input.txt")
    corpus = load_corpus(tmp_path)
    assert text_of(corpus) == VERSE
    assert corpus.path == str(tmp_path / "input.txt")


def test_the_encoding_can_be_chosen(tmp_path):
    novel = tmp_path / "novel.txt"
    novel.write_bytes(VERSE.encode("gb18030"))
    assert text_of(load_corpus(novel, encoding="GB18030")) == VERSE


def test_line_endings_and_a_byte_order_mark_are_normalised_and_reported(tmp_path):
    path = tmp_path / "war.txt"
    path.write_bytes("\ufeffWell, Prince,\rso Genoa\rand Lucca\r\nare now\n".encode())
    corpus = load_corpus(path)
    assert text_of(corpus) == "Well, Prince,\nso Genoa\nand Lucca\nare now\n"
    assert corpus.notes == ("removed a byte-order mark", "converted 1 CR LF and 2 CR line endings to LF")
    path.write_bytes(b"a\r\n" * 1200)
    assert load_corpus(path).notes == ("converted 1,200 CR LF line endings to LF",)


@pytest.mark.parametrize("start", ["<!DOCTYPE html>\n<p>", "\n <html lang='en'><p>"])
def test_a_web_page_gives_a_note(tmp_path, start):
    path = tmp_path / "page.txt"
    path.write_text(start + VERSE)
    corpus = load_corpus(path)
    assert text_of(corpus) == start + VERSE
    assert "web page" in corpus.notes[0]


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


def test_a_given_vocabulary_is_used_and_nothing_is_cached(tmp_path, text_file):
    vocabulary = Vocabulary("\n吟唱白頭", unknown=True)
    corpus = load_corpus(text_file, vocabulary=vocabulary, min_freq=3)
    assert corpus.vocabulary is vocabulary
    assert text_of(corpus) == "".join(c if c in vocabulary else "\ufffd" for c in VERSE)
    assert list(tmp_path.iterdir()) == [text_file]


def test_a_given_vocabulary_without_an_unknown_id_must_contain_every_character(text_file):
    with pytest.raises(MinicharError) as caught:
        load_corpus(text_file, vocabulary=Vocabulary("".join(sorted(set(VERSE) - set("\n吟")))))
    line = str(caught.value)
    assert r"not in the vocabulary: '\n' (U+000A) 2 times, '吟' (U+541F) 1 time; " in line
    assert "min_freq=1" in line
    everything = Vocabulary("".join(sorted(set(VERSE + "more"))))
    assert text_of(load_corpus(text_file, vocabulary=everything)) == VERSE


def test_the_default_text_is_written_to_data_and_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = load_corpus(encoding="utf-16")
    assert text_of(corpus) == pydocs_text() == Path("data/pydocs/input.txt").read_text(encoding="utf-8")
    assert corpus.path == str(Path("data/pydocs/input.txt"))
    Path("data/pydocs/input.txt").write_text("mine now")
    assert text_of(load_corpus()) == "mine now"


def test_the_default_text_of_an_older_version_is_updated_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, copy = Path("data/pydocs/input.txt"), Path("data/pydocs-older/input.txt")
    path.parent.mkdir(parents=True)
    path.write_text(uncleaned_pydocs_text(), encoding="utf-8")
    corpus = load_corpus()
    assert text_of(corpus) == pydocs_text() == path.read_text(encoding="utf-8")
    assert corpus.notes == ("updated data/pydocs/; its older version is now in data/pydocs-older/",)
    assert text_of(load_corpus(copy)) == uncleaned_pydocs_text()
    assert load_corpus().notes == ()
    path.write_bytes(copy.read_bytes())
    copy.write_text("mine")
    assert load_corpus().notes
    assert copy.read_text() == "mine"


def test_an_edited_text_of_an_older_version_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, edited = Path("data/pydocs/input.txt"), uncleaned_pydocs_text().replace("the", "The", 1)
    path.parent.mkdir(parents=True)
    path.write_text(edited, encoding="utf-8")
    assert text_of(load_corpus()) == edited
    assert [found.name for found in Path("data").iterdir()] == ["pydocs"]
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # a Python without help topics
    assert text_of(load_corpus()) == edited


def test_the_default_text_is_available_on_a_read_only_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").write_text("not a directory")
    corpus = load_corpus()
    assert text_of(corpus) == pydocs_text()
    assert corpus.path == "pydocs (in memory)"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.usefixtures("cache_file", "no_encoding")
def test_the_second_load_uses_the_cache(text_file):
    assert text_of(load_corpus(text_file)) == VERSE


@pytest.mark.parametrize("min_freq", [0, 2])
def test_a_cached_corpus_equals_the_original(tmp_path, min_freq):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf<html>aabb\r\nc")
    first, second = load_corpus(path, min_freq=min_freq), load_corpus(path, min_freq=min_freq)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.txt", "text.txt.minichar.npz"]
    np.testing.assert_array_equal(first.ids, second.ids)
    assert first.ids.dtype == second.ids.dtype
    for name in ("vocabulary", "distinct", "path", "digest", "notes"):
        assert getattr(first, name) == getattr(second, name)
    assert len(second.notes) == (3 if min_freq else 2)
    with np.load(tmp_path / "text.txt.minichar.npz") as arrays:
        assert arrays["code_points"].itemsize == 4  # as assumed by the limit on the cache's size


def test_the_cache_has_the_permissions_of_the_text(tmp_path, text_file):
    text_file.chmod(0o600)
    load_corpus(text_file)
    assert (tmp_path / "verse.txt.minichar.npz").stat().st_mode & 0o777 == 0o600


def test_caching_can_be_turned_off(tmp_path, text_file):
    assert text_of(load_corpus(text_file, cache=False)) == VERSE
    assert list(tmp_path.iterdir()) == [text_file]


@pytest.mark.usefixtures("cache_file")
def test_the_cache_is_ignored_for_other_bytes_settings_or_versions(text_file, monkeypatch):
    assert load_corpus(text_file, min_freq=2).vocabulary == Vocabulary("\n。，", unknown=True)
    assert not load_corpus(text_file).vocabulary.unknown
    text_file.write_bytes(b"\xc3\xa9t\xc3\xa9")
    assert text_of(load_corpus(text_file)) == "été"
    assert text_of(load_corpus(text_file, encoding="latin-1")) == "Ã©tÃ©"
    assert text_of(load_corpus(text_file)) == "été"
    monkeypatch.setattr(cache, "VERSION", 0)
    monkeypatch.setattr(Text, "encode", lambda *args: [np.array([0, 1, 0], np.uint8)])
    assert text_of(load_corpus(text_file)) == "tét"


def test_a_text_is_read_and_cached_without_threads(text_file, monkeypatch):
    """A process limit can prevent new threads, and Pyodide has none."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert text_of(load_corpus(text_file)) == text_of(load_corpus(text_file)) == VERSE


@pytest.mark.parametrize("read", [load_corpus, lambda path: read_corpus(Settings(data=path))])
def test_a_text_that_cannot_be_read_is_not_hashed(read, text_file, monkeypatch):
    """Hashing a large file takes seconds, and the error can be in its first block."""
    monkeypatch.delattr(Text, "digest")
    text_file.write_bytes(b"PK\0\0")
    with pytest.raises(MinicharError, match="binary file"):
        read(text_file)


@pytest.mark.usefixtures("cache_file")
def test_a_file_that_can_no_longer_be_read(text_file, monkeypatch):
    def fail(text):
        raise MinicharError("cannot be read")

    monkeypatch.setattr(Text, "digest", fail)
    with pytest.raises(MinicharError, match=r"cannot be read"):
        load_corpus(text_file)


def rewritten(cache_file, **changes):
    with np.load(cache_file) as arrays:
        members = dict(arrays)
    np.savez(cache_file, **members | changes)


def ids_in(cache_file):
    with np.load(cache_file) as arrays:
        return arrays["ids"].tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_ids(cache_file, content):
    """Replace the member that contains the ids."""
    with zipfile.ZipFile(cache_file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(cache_file, "w") as archive:
        for name, original in members.items():
            archive.writestr(name, content if name == "ids.npy" else original)


def compressed(cache_file):
    with np.load(cache_file) as arrays:
        members = dict(arrays)
    np.savez_compressed(cache_file, **members)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "not an archive": lambda path: path.write_bytes(b"hello " * 100),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "changed id": lambda path: path.write_bytes(path.read_bytes().replace(ids_in(path), b"\0" * len(VERSE))),
    "single array": lambda path: path.write_bytes(npy(np.arange(3))),
    "pickle": lambda path: rewritten(path, ids=np.array([{}], dtype=object)),
    "no header": lambda path: rewritten(path, header=np.array("{}")),
    "list as header": lambda path: rewritten(path, header=np.array("[]")),
    "ids too large": lambda path: rewritten(path, ids=np.full(len(VERSE), 255, np.uint8)),
    "ids with the wrong dtype": lambda path: rewritten(path, ids=np.zeros(len(VERSE), np.int8)),
    "two-dimensional ids": lambda path: rewritten(path, ids=np.zeros((2, len(VERSE) // 2), np.uint8)),
    "one id too few": lambda path: rewritten(path, ids=np.zeros(len(VERSE) - 1, np.uint8)),
    "one id too many": lambda path: rewritten(path, ids=np.zeros(len(VERSE) + 1, np.uint8)),
    "no ids": lambda path: rewritten(path, ids=np.zeros(0, np.uint8)),
    "too many ids": lambda path: rewritten(path, ids=np.zeros(100_000, np.uint8)),
    "compressed": compressed,
    "fewer bytes than ids": lambda path: with_ids(path, npy(np.zeros(len(VERSE), np.uint8))[:-1]),
    "more bytes than ids": lambda path: with_ids(path, npy(np.zeros(len(VERSE), np.uint8)) + b"\0"),
    "ids without an array": lambda path: with_ids(path, b""),
    "invalid code points": lambda path: rewritten(path, code_points=np.array([2**31])),
    "characters out of order": lambda path: rewritten(path, code_points=np.array([99, 98] * 20)),
    "directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupted_cache_is_replaced(text_file, cache_file, damage):
    DAMAGE[damage](cache_file)
    assert text_of(load_corpus(text_file)) == VERSE
    if not cache_file.is_dir():
        with np.load(cache_file) as arrays:
            assert json.loads(str(arrays["header"]))["key"]["version"] == cache.VERSION
            assert arrays["ids"].shape == (len(VERSE),)


def test_an_oversized_cache_is_ignored(tmp_path):
    """A cache may take up 8 bytes per byte of text and per file, plus 64 KiB."""
    path = tmp_path / "text.txt"
    path.write_text("abcd")
    load_corpus(path)
    cache_file = tmp_path / "text.txt.minichar.npz"
    with np.load(cache_file) as arrays:
        header = json.loads(str(arrays["header"]))

    def size_with(note):
        rewritten(cache_file, header=np.array(json.dumps(header | {"notes": [note]})))
        with zipfile.ZipFile(cache_file) as archive:
            return sum(member.file_size for member in archive.infolist())

    limit = 8 * (len("abcd") + 1) + 65536
    note = "x" * ((limit - size_with("")) // 4)  # each header character takes 4 bytes
    assert size_with(note) == limit
    assert load_corpus(path).notes == (note,)
    assert size_with(note + "x") == limit + 4
    assert load_corpus(path).notes == ()


def test_a_forged_cache_is_harmless(text_file, cache_file):
    """The checksum cannot detect a forged cache, but every id in it is still in the vocabulary."""
    with np.load(cache_file) as arrays:
        ids = arrays["ids"]
    rewritten(cache_file, ids=ids[::-1])
    assert text_of(load_corpus(text_file)) == VERSE[::-1]


def test_an_existing_cache_is_used_even_if_caching_is_turned_off(text_file, cache_file, no_encoding):
    assert text_of(load_corpus(text_file, cache=False)) == VERSE


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_nothing_in_a_cache_is_executed(tmp_path, text_file, cache_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for member in ("header", "code_points", "ids"):
        rewritten(cache_file, **{member: np.array([Bomb()], dtype=object)})
        assert text_of(load_corpus(text_file)) == VERSE
        assert not Path("exploded").exists()


def test_a_cache_that_cannot_be_written_is_skipped(tmp_path, text_file, monkeypatch):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    assert text_of(load_corpus(text_file)) == VERSE
    assert list(tmp_path.iterdir()) == [text_file]
