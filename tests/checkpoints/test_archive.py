import io
import json
import os
import random
import zipfile
from functools import partial

import numpy as np
import pytest
from toys import FullDisk, npy, replace_member

import minichar.checkpoints.archive as archive_module
from minichar.checkpoints.archive import Archive, write_archive
from minichar.checkpoints.stored_zip import LimitedFile
from minichar.errors import MinicharError
from minichar.files import check_directory

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


def test_an_archive_round_trips(path):
    assert same(read_all(path))


def test_shapes_are_available_before_any_array_is_read(path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(MinicharError):
        Archive(path)  # the header is also stored as an array
    monkeypatch.undo()
    with Archive(path) as archive:
        assert archive.shapes == {"a": (2, 3), "b.c": (0,), "n": ()}


def test_an_archive_written_by_plain_numpy_has_an_empty_header(tmp_path):
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    assert read_all(tmp_path / "plain.npz")[0] == {}


def test_missing_files_and_directories_are_errors(tmp_path):
    for name in ("missing.npz", "no/folder/missing.npz"):
        with pytest.raises(MinicharError, match=r"no such checkpoint: .*missing\.npz"):
            Archive(tmp_path / name)
    with pytest.raises(MinicharError, match=r"cannot read .*: Is a directory"):
        Archive(tmp_path)


def test_an_input_error_is_reported_as_such(path, monkeypatch):
    read = LimitedFile.read

    def fail(file, size=-1):
        if size > 100:  # the list of members
            raise OSError(5, "Input/output error")
        return read(file, size)

    monkeypatch.setattr(LimitedFile, "read", fail)
    with pytest.raises(MinicharError, match=r"cannot read .*toy\.npz: Input/output error"):
        Archive(path)


def test_every_truncated_file_is_rejected(path):
    content = path.read_bytes()
    for length in {*range(0, len(content), 11), *range(len(content) - 60, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(MinicharError, match="not a checkpoint that minichar can read"):
            read_all(path)


def test_flipped_bytes_never_change_a_value(path):
    """Every corrupted file is rejected, lacks an array or the header, or differs only in unused bytes."""
    content = path.read_bytes()
    generator = random.Random(1)
    with zipfile.ZipFile(path) as file:
        directory = file.start_dir
        heads = [n for info in file.infolist() for n in range(info.header_offset, info.header_offset + 170)]
    places = [range(len(content)), range(directory, len(content)), heads]
    reported = 0
    for i in range(600):
        corrupted = bytearray(content)
        for _ in range(generator.choice([1, 1, 2, 5])):
            corrupted[generator.choice(places[i % 3])] = generator.choice([0, 255, generator.randrange(256)])
        path.write_bytes(corrupted)
        try:
            header, arrays = read_all(path)
            assert header in (HEADER, {})
            assert as_written(arrays)
        except MinicharError:
            reported += 1
    assert reported > 300


@pytest.mark.parametrize(
    "content", [b"", b"not a zip file", b"PK\x03\x04" * 9], ids=["empty", "text", "zip magic"]
)
def test_a_file_that_is_not_a_zip_is_rejected(path, content):
    path.write_bytes(content)
    with pytest.raises(MinicharError, match="empty, truncated, or not a zip archive"):
        Archive(path)


def test_members_must_be_arrays_without_duplicates(path):
    replace_member(path, "readme.txt", b"hello")
    with pytest.raises(MinicharError, match=r"'readme\.txt', which is not a valid array name"):
        Archive(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy("<f8", (1,), bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", npy("<f8", (1,), bytes(8)))
    with pytest.raises(MinicharError, match="several members with the same name"):
        Archive(path)


class Bomb:
    """Object that creates a directory when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a", "header", "extra"])
def test_an_array_of_objects_is_never_unpickled(path, tmp_path, name):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([Bomb(tmp_path / "boom")], dtype=object), allow_pickle=True)
    replace_member(path, f"{name}.npy", file.getvalue())
    with pytest.raises(MinicharError, match="only plain numbers are allowed, not pickled objects"):
        read_all(path)
    assert not (tmp_path / "boom").exists()
    np.lib.format.read_array(io.BytesIO(file.getvalue()), allow_pickle=True)
    assert (tmp_path / "boom").exists(), "the pickle would not create the directory even if it were loaded"


@pytest.mark.parametrize(
    "dtype", ["<c16", "|b1", "|S4", "<U2", "<M8[s]", "|V8", [("x", "|O")], [("x", "<f8")]], ids=str
)
def test_only_plain_numbers_are_allowed(path, dtype):
    replace_member(path, "a.npy", npy(dtype, (2,), bytes(2 * np.dtype(dtype).itemsize)))
    with pytest.raises(MinicharError, match="only plain numbers"):
        Archive(path)


@pytest.mark.parametrize(
    "shape", [(10**12,), (2**40, 2**40), (10**30,), (3,), (2, 3, 2), (-1,), (-2, -3), (), (0,)]
)
def test_a_shape_that_does_not_match_the_data_is_rejected_before_allocation(path, shape):
    replace_member(path, "a.npy", npy("<f8", shape, bytes(40)))
    with pytest.raises(MinicharError, match=r"has shape .* but 40 bytes of data"):
        Archive(path)


def test_negative_axis_lengths_with_the_correct_size_are_rejected(path):
    replace_member(path, "a.npy", npy("<f8", (-1, -5), bytes(40)))
    with pytest.raises(MinicharError, match="array a is missing or corrupted"):
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
def test_a_corrupted_array_header_is_rejected(path, content):
    replace_member(path, "a.npy", content)
    with pytest.raises(MinicharError, match="array a"):
        read_all(path)


def test_a_compressed_bomb_is_not_decompressed(path, monkeypatch):
    bomb = npy("<f8", (2**21,), bytes(2**24))
    replace_member(path, "a.npy", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(MinicharError, match="it is compressed; save it without compression"):
        Archive(path)


def test_overlapping_members_are_rejected(path):
    """If members share bytes, they can need far more memory than the file size suggests."""
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


@pytest.mark.parametrize("shared", [1, 29])
def test_a_member_that_includes_part_of_the_next_header_is_rejected(path, shared):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.npy", "b.npy"):
            file.writestr(name, npy("<f8", (1,), bytes(8)))
        first, second = file.infolist()
        first.compress_size = first.file_size = second.header_offset - first.header_offset - 30 + shared
    with pytest.raises(MinicharError, match="its members overlap"):
        Archive(path)


@pytest.mark.parametrize(
    "header",
    ["", "not JSON", "[1, 2]", "null", '{"a": 1', "[" * 100_000, '{"a":' * 100_000],
    ids=["empty", "words", "list", "null", "truncated", "deep list", "deep object"],
)
def test_a_header_must_be_a_json_object(tmp_path, header):
    np.savez(tmp_path / "toy.npz", header=np.array(header))
    with pytest.raises(MinicharError, match="its header is not"):
        Archive(tmp_path / "toy.npz")


def header_with(code_point, order):
    """Return a header, ``{"a": "…"}``, that contains a code point and is padded with NULs, as an array."""
    code_points = np.array([*map(ord, '{"a": "'), code_point, *map(ord, '"}\0\0')], f"{order}u4")
    return npy(f"{order}U{code_points.size}", (), code_points.tobytes())


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code_point", [0x10FFFF, 0xD800, 0x1F98A])
def test_a_header_can_contain_any_character(path, code_point, order):
    replace_member(path, "header.npy", header_with(code_point, order))
    with Archive(path) as archive:
        assert archive.header == {"a": chr(code_point)}


@pytest.mark.parametrize(
    "member",
    [
        npy("<U2", (2,), bytes(16)),
        npy("<f8", (), bytes(8)),
        npy("|S2", (), b"{}"),
        npy("<U2", (), b"\xff" * 8),
        header_with(0x110000, "<"),
        header_with(0x110000, ">"),
    ],
    ids=["two strings", "a number", "bytes", "invalid code points", "above U+10FFFF", "big-endian"],
)
def test_a_header_must_be_one_string(path, member):
    replace_member(path, "header.npy", member)
    with pytest.raises(MinicharError, match="header"):
        Archive(path)


def test_the_size_of_the_header_is_limited(path, monkeypatch):
    size = 4 * len(json.dumps(HEADER))
    monkeypatch.setattr("minichar.checkpoints.archive.MAX_HEADER_BYTES", size)
    assert same(read_all(path))
    monkeypatch.setattr("minichar.checkpoints.archive.MAX_HEADER_BYTES", size - 1)
    with pytest.raises(MinicharError, match=f"not a single string of at most {size - 1:,} bytes"):
        Archive(path)


def test_reading_a_missing_array_is_an_error(path):
    with Archive(path) as archive, pytest.raises(MinicharError, match="array z is missing"):
        archive.read("z")


def test_a_full_disk_leaves_the_old_file_unchanged(path, monkeypatch):
    """A write error at any byte raises a `MinicharError` and leaves no temporary file behind."""
    before = path.read_bytes()
    size = len(before)
    for room in (0, 1, 100, 300, size // 2, size - 200, size - 30, size - 1):
        full = partial(FullDisk, room=room)
        monkeypatch.setattr("minichar.files.open", full, raising=False)
        with pytest.raises(MinicharError, match=r"cannot write .*toy\.npz: No space left on device; free"):
            write_archive(path, HEADER | {"text": "other"}, ARRAYS)
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == ["toy.npz"]


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        ("fsync", OSError(28, "No space left on device"), (MinicharError, "No space left on device")),
        ("replace", PermissionError(13, "Permission denied"), (MinicharError, "Permission denied")),
        ("fsync", KeyboardInterrupt("Ctrl-C"), (KeyboardInterrupt, "Ctrl-C")),
    ],
    ids=["flush", "rename", "interrupt"],
)
def test_a_failed_flush_or_rename_leaves_the_old_file_unchanged(path, monkeypatch, call, error, expected):
    def fail(*arguments):
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(expected[0], match=expected[1]):
        write_archive(path, {}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["toy.npz"]


def test_the_new_file_is_complete_and_flushed_before_the_rename(path, monkeypatch):
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
    assert calls[:2] == ["flush", "rename"]
    assert read_all(path)[0] == {"new": True}


def test_directories_are_created(tmp_path):
    write_archive(tmp_path / "a" / "b" / "toy.npz", HEADER, ARRAYS)
    assert same(read_all(tmp_path / "a" / "b" / "toy.npz"))


def test_a_file_instead_of_the_directory_is_an_error(tmp_path):
    (tmp_path / "cv").write_text("a file")
    for write in (
        lambda: write_archive(tmp_path / "cv" / "x.npz", {}, {}),
        lambda: check_directory(tmp_path / "cv", 0),
    ):
        with pytest.raises(MinicharError, match=r"cannot write .*: (it is not a directory|Not a directory)"):
            write()
    assert (tmp_path / "cv").read_text() == "a file"


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "a" * 1001, "\x16" * 1000])
def test_names_that_cannot_be_printed_or_are_long_are_rejected(path, name):
    replace_member(path, f"{name}.npy", npy("<f8", (1,), bytes(8)))
    with pytest.raises(MinicharError, match="is not a valid array name") as caught:
        Archive(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "array",
    [
        npy("|b1", (8,), bytes(8)),
        npy([("x" * 1000, "<f8")], (1,), bytes(8)),
        npy("<f8", (1,) * 3000, b""),
        npy("<f8", (-1, -1), bytes(8)),
        b"",
    ],
    ids=["name", "dtype", "shape", "data", "empty"],
)
def test_long_names_dtypes_and_shapes_are_truncated(path, array):
    replace_member(path, f"{'a' * 1000}.npy", array)
    with pytest.raises(MinicharError, match=r"a{40}") as caught:
        read_all(path)
    assert len(str(caught.value)) < len(str(path)) + 400


def test_numpy_does_not_warn_about_arrays_written_in_python_2(path):
    """Python 2 wrote shapes as long integers, as in ``(2L,)``."""
    replace_member(
        path, "a.npy", npy("<f8", (2,), bytes(16)).replace(b"(2,)", b"(2L,)", 1).replace(b" \n", b"\n", 1)
    )
    with Archive(path) as archive:
        assert archive.read("a").shape == (2,)


def test_a_header_that_could_not_be_read_is_not_written(path, monkeypatch):
    before = path.read_bytes()
    header = {"text": "x" * 100}
    monkeypatch.setattr(archive_module, "MAX_HEADER_CHARACTERS", len(json.dumps(header)))
    monkeypatch.setattr(archive_module, "MAX_HEADER_BYTES", 4 * len(json.dumps(header)))
    write_archive(path, header, {})
    assert read_all(path)[0] == header
    header["text"] += "x"
    with pytest.raises(MinicharError, match=r"cannot write .*: its header has more than \d+ characters"):
        write_archive(path, header, {})
    assert read_all(path)[0] != header
    assert before != path.read_bytes()
