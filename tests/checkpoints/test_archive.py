import io
import json
import os
import random
import zipfile
from functools import partial

import numpy as np
import pytest
from toys import FullDisk, npy, replace_member

from minichar.checkpoints.archive import Archive, check_folder, write_archive
from minichar.errors import MinicharError

HEADER = {"format": "toy", "numbers": [1, 2.5, None], "text": "é汉𝄞"}
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b.c": np.array([], dtype="float32"), "n": np.array(7)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "toy.npz"
    write_archive(path, HEADER, ARRAYS)
    return path


def read_all(path):
    with Archive(path) as archive:
        return archive.header, {name: archive.read(name) for name in archive.shapes}


def as_written(arrays):
    return all(
        array.dtype == ARRAYS[name].dtype and np.array_equal(array, ARRAYS[name])
        for name, array in arrays.items()
    )


def same(archive):
    header, arrays = archive
    return header == HEADER and arrays.keys() == ARRAYS.keys() and as_written(arrays)


def test_what_is_written_is_read(path):
    assert same(read_all(path))


def test_plain_numpy_reads_it(path):
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["a", "b.c", "header", "n"]
        assert json.loads(str(file["header"])) == HEADER
        np.testing.assert_array_equal(file["a"], ARRAYS["a"])


def test_shapes_are_known_before_anything_is_read(path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(MinicharError):
        Archive(path)  # the header needs it
    monkeypatch.undo()
    with Archive(path) as archive:
        assert archive.shapes == {"a": (2, 3), "b.c": (0,), "n": ()}


def test_an_archive_of_plain_numpy_has_an_empty_header(tmp_path):
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    assert read_all(tmp_path / "plain.npz")[0] == {}


@pytest.mark.parametrize("name", ["missing.npz", "no/folder/missing.npz"])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(MinicharError, match=r"no such checkpoint: .*missing\.npz"):
        Archive(tmp_path / name)


def test_a_folder(tmp_path):
    with pytest.raises(MinicharError, match=r"cannot read .*: Is a directory"):
        Archive(tmp_path)


def test_every_truncation(path):
    """However much of it is there, it is never taken for the whole, and never a surprise."""
    content = path.read_bytes()
    for length in {*range(0, len(content), 5), *range(len(content) - 60, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(MinicharError, match="not a checkpoint minichar can read"):
            read_all(path)


def test_flipped_bytes(path):
    """Damage is reported, or hides an array, or hits what is never used: no value changes."""
    content = path.read_bytes()
    generator = random.Random(1)
    with zipfile.ZipFile(path) as file:
        directory = file.start_dir
        heads = [n for info in file.infolist() for n in range(info.header_offset, info.header_offset + 170)]
    places = [range(len(content)), range(directory, len(content)), heads]
    reported = 0
    for i in range(900):
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 1, 2, 5])):
            damaged[generator.choice(places[i % 3])] = generator.choice([0, 255, generator.randrange(256)])
        path.write_bytes(damaged)
        try:
            header, arrays = read_all(path)
            assert header in (HEADER, {})
            assert as_written(arrays)
        except MinicharError:
            reported += 1
    assert reported > 450


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" * 9], ids=["empty", "text", "head"])
def test_no_archive(path, content):
    path.write_bytes(content)
    with pytest.raises(MinicharError, match=r"empty, truncated, or no \.npz file"):
        Archive(path)


def test_a_zip_that_holds_other_things(path):
    replace_member(path, "readme.txt", b"hello")
    with pytest.raises(MinicharError, match=r"'readme\.txt', which is no array"):
        Archive(path)


def test_a_member_twice(path):
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a.npy", npy("<f8", (1,), bytes(8)))
    with pytest.raises(MinicharError, match=r"'a\.npy', which is no array or is there twice"):
        Archive(path)


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a", "header", "extra"])
def test_an_array_of_objects_is_never_unpickled(path, tmp_path, name):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([Bomb(tmp_path / "boom")], dtype=object), allow_pickle=True)
    replace_member(path, f"{name}.npy", file.getvalue())
    with pytest.raises(MinicharError, match="only plain numbers are read, never pickled objects"):
        read_all(path)
    assert not (tmp_path / "boom").exists()
    np.lib.format.read_array(io.BytesIO(file.getvalue()), allow_pickle=True)
    assert (tmp_path / "boom").exists(), "the bomb would have gone off"


def test_objects_inside_a_structure(path):
    replace_member(path, "a.npy", npy([("x", "|O")], (1,), bytes(8)))
    with pytest.raises(MinicharError, match="only plain numbers"):
        Archive(path)


@pytest.mark.parametrize("dtype", ["<c16", "|b1", "|S4", "<U2", "<M8[s]", "|V8"])
def test_what_is_no_plain_number(path, dtype):
    replace_member(path, "a.npy", npy(dtype, (2,), bytes(2 * np.dtype(dtype).itemsize)))
    with pytest.raises(MinicharError, match="only plain numbers"):
        Archive(path)


@pytest.mark.parametrize(
    "shape", [(10**12,), (2**40, 2**40), (10**30,), (3,), (2, 3, 2), (-1,), (-2, -3), (), (0,)]
)
def test_a_shape_that_the_bytes_do_not_fit_takes_no_memory(path, shape):
    replace_member(path, "a.npy", npy("<f8", shape, bytes(40)))
    with pytest.raises(MinicharError, match=r"says shape .* 40 bytes do not fit"):
        Archive(path)


@pytest.mark.parametrize("shape", [(-1, -5), (-5, -1)])
def test_a_shape_below_zero_whose_product_fits(path, shape):
    replace_member(path, "a.npy", npy("<f8", shape, bytes(40)))
    with pytest.raises(MinicharError, match="array a is missing or damaged"):
        read_all(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00\x10\x00" + bytes(16),
        npy("<f8", (1,))[:50],
        npy("nonsense", (1,), bytes(8)),
        npy(",3", (1,), bytes(8)),
        npy("<f8", "shape", bytes(8)),
        npy("<f8", (1,), bytes(8)).replace(b"'descr'", b"b'desc'"),
        npy("<f8", (1,), bytes(8)).replace(b"}", b"("),
        npy("<f8", (1,), bytes(8)).replace(b"}", b"\0"),
    ],
    ids=["empty", "magic", "version", "cut", "dtype", "dtype list", "shape", "keys", "bracket", "NUL"],
)
def test_a_damaged_array(path, content):
    replace_member(path, "a.npy", content)
    with pytest.raises(MinicharError, match="array a"):
        read_all(path)


def test_a_compressed_bomb_is_not_unpacked(path, monkeypatch):
    bomb = npy("<f8", (2**21,), bytes(2**24))
    replace_member(path, "a.npy", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(MinicharError, match="larger than the file"):
        Archive(path)


def test_a_compressed_array(path):
    replace_member(path, "a.npy", npy("<f8", (2,), bytes(range(16))), zipfile.ZIP_DEFLATED)
    with pytest.raises(MinicharError, match="compressed"):
        Archive(path)


def test_members_that_lie_one_over_the_other(path):
    """Many entries of one stretch of the file could ask for more memory than the file has bytes."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy("<f8", (2**16,), bytes(2**19)))
        first = file.infolist()[0]
        for i in range(20):
            twin = zipfile.ZipInfo(f"a{i}.npy")
            twin.header_offset, twin.file_size, twin.compress_size, twin.CRC = (
                0,
                *[2**19 + 128] * 2,
                first.CRC,
            )
            file.filelist.append(twin)
    with pytest.raises(MinicharError, match="larger than the file"):
        Archive(path)


@pytest.mark.parametrize(
    "header",
    ["", "no JSON", "[1, 2]", "3", "null", '"text"', "{", '{"a": 1', "[" * 100_000, '{"a":' * 100_000],
    ids=["empty", "words", "list", "number", "null", "string", "open", "half", "deep list", "deep object"],
)
def test_a_header_that_is_no_object(tmp_path, header):
    np.savez(tmp_path / "toy.npz", header=np.array(header))
    with pytest.raises(MinicharError, match="its header is not"):
        Archive(tmp_path / "toy.npz")


@pytest.mark.parametrize("header", [np.array(["{}", "{}"]), np.zeros(3), np.array(b"{}")])
def test_a_header_that_is_no_text(tmp_path, header):
    np.savez(tmp_path / "toy.npz", header=header)
    with pytest.raises(MinicharError, match="header"):
        Archive(tmp_path / "toy.npz")


def test_a_header_of_what_no_character_is(path):
    replace_member(path, "header.npy", npy("<U2", (), b"\xff" * 8))
    with pytest.raises(MinicharError, match="header"):
        Archive(path)


def test_a_header_as_large_as_a_disk(path, monkeypatch):
    monkeypatch.setattr("minichar.checkpoints.archive.MAX_HEADER_BYTES", 16)
    with pytest.raises(MinicharError, match="no single text of a sensible size"):
        Archive(path)


def test_reading_what_is_not_there(path):
    with Archive(path) as archive, pytest.raises(MinicharError, match="array z is missing"):
        archive.read("z")


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    """Wherever the writing stops: one error, the old file whole, nothing beside it."""
    before = path.read_bytes()
    size = len(before)
    for room in (0, 1, 100, 300, size // 2, size - 200, size - 30, size - 1):
        full = partial(FullDisk, room=room)
        monkeypatch.setattr("minichar.files.open", full, raising=False)
        with pytest.raises(MinicharError, match=r"cannot write .*toy\.npz: No space left on device; free"):
            write_archive(path, HEADER | {"text": "other"}, ARRAYS)
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == ["toy.npz"]


def test_a_full_disk_that_shows_when_the_file_is_flushed(path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MinicharError, match="No space left"):
        write_archive(path, {}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["toy.npz"]


def test_a_rename_that_fails_leaves_the_old_file(path, monkeypatch):
    def fail(source, target):
        raise PermissionError(13, "Permission denied")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MinicharError, match="Permission denied"):
        write_archive(path, {}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["toy.npz"]


def test_the_name_stands_for_the_old_file_until_the_new_one_is_whole(path, monkeypatch):
    """At the moment of the rename the new content is complete and on the disk, under another name."""
    before = path.read_bytes()
    calls = []
    rename, flush = os.replace, os.fsync

    def watch(source, target):
        assert path.read_bytes() == before
        assert read_all(source)[0] == {"new": True}
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "replace", watch)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("flush"), flush(descriptor)))
    write_archive(path, {"new": True}, ARRAYS)
    assert calls == ["flush", "rename"]
    assert read_all(path)[0] == {"new": True}


def test_an_interruption_leaves_nothing_behind(path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_archive(path, {}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["toy.npz"]


def test_folders_are_made(tmp_path):
    write_archive(tmp_path / "a" / "b" / "toy.npz", HEADER, ARRAYS)
    assert same(read_all(tmp_path / "a" / "b" / "toy.npz"))


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "cv").write_text("a file")
    for write in (
        lambda: write_archive(tmp_path / "cv" / "x.npz", {}, {}),
        lambda: check_folder(tmp_path / "cv"),
    ):
        with pytest.raises(MinicharError, match=r"cannot write .*: File exists"):
            write()
    assert (tmp_path / "cv").read_text() == "a file"


def test_checking_a_folder_leaves_nothing_in_it(tmp_path):
    check_folder(tmp_path / "cv")
    assert os.listdir(tmp_path / "cv") == []
