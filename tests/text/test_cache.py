import codecs
import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from text_helpers import text_of

from minichar.text import cache
from minichar.text.corpus import load_corpus
from minichar.text.joining import Text
from minichar.text.vocabulary import Vocabulary

VERSE = "西陸蟬聲唱，南冠客思侵。\n那堪玄鬢影，來對白頭吟。\n"
WIDE = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # V > 255, so the ids are uint16


@pytest.fixture
def text_file(tmp_path):
    return written(tmp_path / "verse.txt", VERSE)


@pytest.fixture
def folder(tmp_path):
    for name, text in {"a": "first, ", "b": "second, ", "c": "third"}.items():
        written(tmp_path / "texts" / f"{name}.txt", text)
    return tmp_path / "texts"


@pytest.fixture
def cached(text_file, text_cache):
    """Cache a text, and return the cache file."""
    load_corpus(text_file)
    (path,) = text_cache.iterdir()
    return path


def written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def encode_again(monkeypatch, fail=True):
    """Count how often texts are encoded, or make encoding fail so that the ids must come from the cache."""
    counts, encode = [], Text.encode

    def counting(*args):
        assert not fail, "the text was encoded again"
        counts.append(1)
        return encode(*args)

    monkeypatch.setattr(Text, "encode", counting)
    return counts


def fails(*args, **options):
    raise PermissionError(errno.EACCES, "Permission denied")


def assert_equal(first, second):
    for name, value in vars(first).items():
        assert np.all(value == getattr(second, name))
    assert (first.ids.dtype, first.starts.dtype) == (second.ids.dtype, second.starts.dtype)


class TestKey:
    @pytest.mark.parametrize("min_freq", [0, 2])
    @pytest.mark.parametrize("text", ["\ufeff<html>aabb\r\nc", WIDE * 2 + "a", "a directory"])
    def test_a_cached_text_equals_the_original(self, folder, text_cache, monkeypatch, text, min_freq):
        path = folder if text == "a directory" else written(folder / "text.txt", text)
        monkeypatch.setenv("MINICHAR_CACHE", "")
        original = load_corpus(path, min_freq=min_freq)
        monkeypatch.setenv("MINICHAR_CACHE", str(text_cache.parent))
        assert_equal(load_corpus(path, min_freq=min_freq), original)
        encode_again(monkeypatch)
        again = load_corpus(path, min_freq=min_freq)
        assert_equal(again, original)
        assert len(again.notes) == (2 if "html" in text else 0) + (min_freq > 0)
        assert again.starts.tolist() == ([0, 7, 15] if path == folder else [0])

    @pytest.mark.usefixtures("cached")
    def test_a_copy_of_a_text_uses_the_same_file(self, text_file, tmp_path, monkeypatch):
        encode_again(monkeypatch)
        written(tmp_path / "copy" / "input.txt", VERSE)
        written(tmp_path / "copy" / "other.txt", "ignored")
        corpus = load_corpus(tmp_path / "copy")
        assert text_of(corpus) == VERSE
        assert corpus.path == str(tmp_path / "copy" / "input.txt")
        assert "other .txt files" in corpus.notes[0]

    def test_other_bytes_settings_and_versions_have_other_files(self, text_file, cached, monkeypatch):
        assert load_corpus(text_file, min_freq=np.int64(2)).vocabulary == Vocabulary("\n。，", unknown=True)
        assert not load_corpus(text_file).vocabulary.unknown
        text_file.write_bytes(b"\xc3\xa9t\xc3\xa9")
        assert text_of(load_corpus(text_file)) == "été"
        assert text_of(load_corpus(text_file, encoding="latin-1")) == "Ã©tÃ©"
        text_file.write_bytes(b"\xc3\xa9T\xc3\xa9")  # the same size
        assert text_of(load_corpus(text_file)) == "éTé"
        for name, value in (("VERSION", 0), ("sys", SimpleNamespace(byteorder="other"))):
            monkeypatch.setattr(cache, name, value)
            counts = encode_again(monkeypatch, fail=False)
            assert text_of(load_corpus(text_file)) == "éTé"
            assert counts == [1]
        assert len(list(cached.parent.iterdir())) == 7

    @pytest.mark.usefixtures("text_cache")
    def test_the_borders_and_names_of_files_are_part_of_the_key(self, folder):
        load_corpus(folder)
        written(folder / "a.txt", "first, sec")  # the joined text stays the same
        written(folder / "b.txt", "ond, ")
        assert load_corpus(folder).starts.tolist() == [0, 10, 15]
        (folder / "c.txt").rename(folder / "0.txt")
        assert text_of(load_corpus(folder)) == "thirdfirst, second, "
        (folder / "a.txt").write_bytes(codecs.BOM_UTF8)
        assert load_corpus(folder).notes[0] == "skipped empty file 'a.txt'"
        (folder / "a.txt").rename(folder / "a2.txt")
        assert load_corpus(folder).notes[0] == "skipped empty file 'a2.txt'"


class TestFolder:
    def test_large_texts_are_cached_for_the_user_alone(self, text_file, text_cache, monkeypatch):
        monkeypatch.setattr(cache, "SMALLEST", len(VERSE.encode()) + 1)
        load_corpus(text_file)
        assert not text_cache.parent.exists()
        monkeypatch.setattr(cache, "SMALLEST", len(VERSE.encode()))
        text_cache.mkdir(parents=True)
        abandoned = text_cache / ".1-0.ids.01234567.tmp"  # of a killed process
        abandoned.touch()
        text_file.chmod(0o644)
        load_corpus(text_file)
        (path,) = text_cache.iterdir()
        assert path != abandoned
        assert path.stat().st_mode & 0o777 == 0o600 or os.name == "nt"

    def test_the_least_recently_used_texts_are_deleted(self, tmp_path, text_cache, monkeypatch):
        monkeypatch.setattr(cache, "MOST", 2)
        texts = [written(tmp_path / name, name * 9) for name in ("ab", "cd", "ef")]
        for text in texts[:2]:
            load_corpus(text)
            for path in text_cache.iterdir():
                os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**12))
        load_corpus(texts[0])  # the oldest file, but used again
        load_corpus(texts[2])
        assert len(list(text_cache.iterdir())) == 2
        counts = encode_again(monkeypatch, fail=False)
        assert text_of(load_corpus(texts[0])) + text_of(load_corpus(texts[2])) == "ab" * 9 + "ef" * 9
        assert counts == []
        load_corpus(texts[1])
        assert counts == [1]

    def test_a_file_that_cannot_be_deleted_is_skipped(self, text_file, cached, monkeypatch):
        """On Windows, a memory-mapped file cannot be deleted. In this test, a directory replaces it."""
        monkeypatch.setattr(cache, "MOST", 1)
        stuck = cached.with_name("0-0.ids")
        stuck.mkdir()
        os.utime(stuck, ns=(0, 0))
        os.utime(cached, ns=(1, 1))
        load_corpus(text_file, min_freq=1)
        assert stuck.exists()
        assert not cached.exists()

    @pytest.mark.usefixtures("cached")
    def test_another_process_can_delete_files_at_the_same_time(self, text_file, monkeypatch):
        monkeypatch.setattr(Path, "lstat", fails)
        load_corpus(text_file, min_freq=1)
        counts = encode_again(monkeypatch, fail=False)
        assert text_of(load_corpus(text_file, min_freq=1)) == VERSE
        assert counts == []


class TestUnusable:
    @pytest.mark.parametrize("given", ["file/folder", "x" * 300])
    @pytest.mark.usefixtures("text_cache")
    def test_a_folder_that_cannot_be_created(self, text_file, tmp_path, monkeypatch, given):
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("not a directory")
        monkeypatch.setenv("MINICHAR_CACHE", given)
        assert text_of(load_corpus(text_file)) == text_of(load_corpus(text_file)) == VERSE
        assert sorted(os.listdir()) == ["file", "verse.txt"]

    def test_a_full_disk(self, text_file, text_cache, monkeypatch):
        monkeypatch.setattr("os.fsync", fails)
        assert text_of(load_corpus(text_file)) == VERSE
        assert list(text_cache.iterdir()) == []

    @pytest.mark.usefixtures("cached")
    def test_a_read_only_file_is_used(self, text_file, monkeypatch):
        monkeypatch.setattr("os.utime", fails)
        encode_again(monkeypatch)
        assert text_of(load_corpus(text_file)) == VERSE

    def test_a_directory_or_pipe(self, text_file, cached):
        cached.unlink()
        cached.mkdir()
        assert text_of(load_corpus(text_file)) == VERSE
        assert cached.is_dir()
        cached.rmdir()
        if hasattr(os, "mkfifo"):
            os.mkfifo(cached)
        assert text_of(load_corpus(text_file)) == VERSE
        assert cached.is_file()


def split(path):
    """Return the JSON values and the bytes of the ids."""
    line, rest = path.read_bytes().split(b"\n", 1)
    return json.loads(line), rest[:-4]


def forge(path, ids=None, line=None, **changes):
    """Change a cache file, and update its checksum."""
    kept, old = split(path)
    line = json.dumps(kept | changes).encode() + b"\n" if line is None else line
    content = line + (old if ids is None else ids)
    path.write_bytes(content + crc32(content).to_bytes(4, "little"))


FORGED = {
    "no line": {"line": b""},
    "nested": {"line": b"[" * 10**5 + b"\n"},
    "no values": {"line": b"{}\n"},
    "too large": {"notes": ["x" * 2000]},
    "ids outside the vocabulary": {"ids": bytes([len(set(VERSE))]) * len(VERSE)},
    "characters out of order": {"characters": VERSE},
    "more characters than the dtype has values": {"characters": WIDE},
    "distinct": {"distinct": "many"},
    "notes": {"notes": 5},
    **{f"N is {N}": {"N": N} for N in (0, 25, 10**12, "26", [2, 13])},
    **{f"starts is {starts}": {"starts": starts} for starts in ([0, 26], [0, 5, 5], [1], [], [[0]])},
    "starts whose difference overflows": {"starts": [0, 2**63 - 1, -(2**63)]},
}


class TestCorruption:
    def test_every_truncation_and_every_changed_byte_is_detected(self, text_file, cached):
        kept = cache.Cache.of(Text.from_files("verse", [text_file], "utf-8"), "utf-8", 0)
        assert text_of(kept.load()) == VERSE
        content = cached.read_bytes()
        wrong = [content[:n] for n in range(0, len(content), 3)]
        wrong += [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(0, len(content), 2)]
        for changed in (*wrong, content + b"\0"):
            cached.write_bytes(changed)
            assert kept.load() is None

    @pytest.mark.parametrize("forgery", FORGED)
    def test_a_forged_file_is_replaced(self, text_file, cached, monkeypatch, forgery):
        monkeypatch.setattr(cache, "LARGEST", 2000 if forgery == "too large" else cache.LARGEST)
        content = cached.read_bytes()
        forge(cached, **FORGED[forgery])
        assert cached.read_bytes() != content
        assert text_of(load_corpus(text_file)) == VERSE
        assert cached.read_bytes() == content

    def test_a_forged_file_with_valid_ids_is_used(self, text_file, cached):
        _, ids = split(cached)
        forge(cached, ids[::-1])
        assert text_of(load_corpus(text_file)) == VERSE[::-1]
