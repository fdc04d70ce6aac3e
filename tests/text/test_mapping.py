import errno
import tracemalloc
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from text_helpers import text_of

from minichar.errors import MinicharError
from minichar.text import batches, cache, mapping, reading, resets
from minichar.text.batches import split_text
from minichar.text.corpus import load_corpus
from minichar.text.novelty import measure_novelty
from minichar.text.resets import count_separators
from minichar.text.vocabulary import Vocabulary

TEXT = "西陸蟬聲唱，南冠客思侵。\n" * 40
WIDE = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 3  # V > 255, so the ids are uint16


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    monkeypatch.setattr(mapping, "IN_MEMORY", 100)


def written(folder, text):
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def is_mapped(ids):
    return isinstance(ids, np.memmap) and not ids.flags.writeable


@pytest.mark.parametrize(("text", "size"), [(TEXT, 1), (WIDE, 2), (WIDE + "a", 2)], ids=["1", "2", "odd"])
@pytest.mark.parametrize("is_large", [False, True])
def test_large_ids_are_mapped_from_the_cache(tmp_path, text_cache, monkeypatch, text, size, is_large):
    """The limit is in bytes."""
    monkeypatch.setattr(mapping, "IN_MEMORY", size * len(text) - is_large)
    path = written(tmp_path, text)
    for _ in ("cold", "warm"):
        corpus = load_corpus(path)
        assert corpus.ids.nbytes == size * len(text)
        assert corpus.ids.flags.aligned
        assert isinstance(corpus.ids, np.memmap) == is_mapped(corpus.ids) == is_large
        if is_large:
            assert [Path(corpus.ids.filename)] == list(text_cache.iterdir())
        mapping.release(corpus.ids)
        assert text_of(corpus) == text


def test_mapped_ids_outlive_the_cache_file(tmp_path, text_cache, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 1)
    path = written(tmp_path, TEXT)
    first = load_corpus(path)
    second = load_corpus(path, min_freq=1)  # deletes the file of the first
    assert Path(first.ids.filename) not in text_cache.iterdir()
    for corpus in (first, second):
        assert is_mapped(corpus.ids)
        assert text_of(corpus) == TEXT


@pytest.mark.usefixtures("text_cache")
@pytest.mark.parametrize("why", ["no cache", "full disk", "vocabulary"])
def test_large_ids_without_a_cache_are_in_a_temporary_file(tmp_path, monkeypatch, why):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = written(tmp_path, TEXT)
    if why == "full disk":
        monkeypatch.setattr("os.fsync", full)
    elif why == "no cache":
        monkeypatch.setenv("MINICHAR_CACHE", "")
    vocabulary = Vocabulary("".join(sorted(set(TEXT)))) if why == "vocabulary" else None
    corpus = load_corpus(path, vocabulary=vocabulary)
    assert is_mapped(corpus.ids)
    assert text_of(corpus) == TEXT
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_an_unwritable_temporary_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "TemporaryFile", full)
    with pytest.raises(MinicharError, match=r"^cannot write 0 MB of ids to .*: No space left .*TMPDIR"):
        load_corpus(written(tmp_path, TEXT))


@pytest.mark.usefixtures("text_cache")
def test_memory_use_does_not_depend_on_the_size_of_the_text(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_bytes(b"the quick brown fox\n" * 750_000)  # 15 MB
    monkeypatch.setattr(reading, "PIECE", 1 << 16)
    tracemalloc.start()
    for _ in ("cold", "warm"):
        assert len(load_corpus(path).ids) == 15_000_000
        assert tracemalloc.get_traced_memory()[1] < 13e6  # 9 MB of this is the table of code-point counts
    tracemalloc.stop()


def resident(name):
    """Return the resident size of a file's mappings in bytes."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        1024 * int(next(line for line in lines if line.startswith("Rss:")).split()[1])
        for header in lines
        if header.endswith(name)
    )


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="requires Linux")
def test_used_pages_are_released(zeros, monkeypatch):
    def most(release_after):
        monkeypatch.setattr(batches, "RELEASE", release_after)
        sizes = [resident("/ids") for _ in split_text(zeros, 4, 150_000).train]
        mapping.release(zeros)
        return max(sizes)

    assert most(1 << 60) > 4.5e6
    assert most(1 << 18) < 2.5e6
    assert resident("/ids") == 0


@pytest.fixture
def zeros(tmp_path):
    """Six million ids in a memory-mapped file."""
    (tmp_path / "ids").write_bytes(bytes(6_000_000))
    with open(tmp_path / "ids", "rb") as file:
        return mapping.read(file, np.dtype(np.uint8), 6_000_000)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="requires Linux")
def test_verified_pages_are_released(tmp_path, text_cache, monkeypatch):
    """Check the memory use before each block of the cached ids is verified."""
    path = tmp_path / "text.txt"
    path.write_bytes(b"the quick brown fox\n" * 50_000)  # 1 MB
    load_corpus(path)
    sizes = []
    monkeypatch.setattr(mapping, "BLOCK", 1 << 18)
    monkeypatch.setattr(cache, "crc32", lambda *args: sizes.append(resident(".ids")) or crc32(*args))
    load_corpus(path)
    assert len(sizes) > 3
    assert max(sizes) == 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="requires Linux")
def test_searched_pages_are_released(zeros, monkeypatch):
    """Check the memory use before each block is searched."""
    sizes, ends = [], resets._ends
    monkeypatch.setattr(resets, "_ends", lambda *args: sizes.append(resident("/ids")) or ends(*args))
    assert sum(count_separators(zeros, np.array([1, 1]))) == 0
    assert len(sizes) > 5
    assert max(sizes) == 0
    assert measure_novelty(np.ones(1, np.uint8), zeros[:2_000_000]).length == 0
    assert resident("/ids") == 0
