import io
import json
import os
import random
import zipfile
from functools import partial

import numpy as np
import pytest
from toys import FullDisk, npy, replace_member

from minichar.checkpoints import archive as archive_module
from minichar.checkpoints.archive import open_archive, write_archive
from minichar.checkpoints.stored_zip import LimitedFile
from minichar.errors import MinicharError

HEADER = {"format": "toy", "numbers": [1, 2.5, None], "text": "é汉𝄞"}
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b.c": np.array([], dtype="float32"), "n": np.array(7)}
DATA = npy("<f8", (1,), bytes(8))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "toy.npz"
    write_archive(path, HEADER, ARRAYS)
    return path


def read_all(path):
    with open_archive(path) as archive:
        return archive.header, {name: archive.read(name) for name in archive.shapes}


def as_written(arrays):
    return all(
        array.dtype == ARRAYS[name].dtype and np.array_equal(array, ARRAYS[name])
        for name, array in arrays.items()
    )


def same(archive):
    header, arrays = archive
    return header == HEADER and arrays.keys() == ARRAYS.keys() and as_written(arrays)


def error_of(path, match):
    """Return the one-line error for a file that is not an archive."""
    with pytest.raises(MinicharError, match=match) as caught:
        read_all(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_an_archive_round_trips(tmp_path):
    path = tmp_path / "a" / "b" / "toy.npz"
    write_archive(path, HEADER, ARRAYS)
    assert same(read_all(path))
    with open_archive(path) as archive:
        assert archive.shapes == {"a": (2, 3), "b.c": (0,), "n": ()}
    error_of(path.parent, "cannot read .*: Is a directory")
    for name in ("missing.npz", "no/folder/missing.npz"):
        error_of(tmp_path / name, r"^no such checkpoint: .*missing\.npz.*; choose a file or directory")
    (tmp_path / "toyz").mkdir()
    error_of(tmp_path / "toy", "choose a file or directory")
    (tmp_path / "toyz" / "a.npz").touch()
    (tmp_path / "toys").touch()
    assert error_of(tmp_path / "toy", "no such").endswith(f"; choose {str(tmp_path / 'toyz')!r}")
    (tmp_path / "toys.npz").touch()
    assert error_of(tmp_path / "toy.npz", "no such").endswith(f"; choose {str(tmp_path / 'toys.npz')!r}")


def test_an_input_error_is_reported_as_such(path, monkeypatch):
    read = LimitedFile.read

    def fail(file, size=-1):
        if size > 100:  # the list of members
            raise OSError(5, "Input/output error")
        return read(file, size)

    monkeypatch.setattr(LimitedFile, "read", fail)
    error_of(path, r"^cannot read .*toy\.npz: Input/output error")


def test_truncated_and_other_files_are_rejected(path):
    content = path.read_bytes()
    ends = {*range(0, len(content), 41), *range(len(content) - 60, len(content), 3)}
    for wrong in (b"not a zip file", b"PK\x03\x04" * 9, *(content[:end] for end in ends)):
        path.write_bytes(wrong)
        error_of(
            path, "not a checkpoint that minichar can read: it is empty, truncated, or not a zip archive"
        )


def test_flipped_bytes_never_change_a_value(path):
    """Every corrupted file is rejected, lacks an array or the header, or differs only in unused bytes."""
    content = path.read_bytes()
    generator = random.Random(1)
    with zipfile.ZipFile(path) as file:
        directory = file.start_dir
        heads = [n for info in file.infolist() for n in range(info.header_offset, info.header_offset + 170)]
    places = [range(len(content)), range(directory, len(content)), heads]
    reported = 0
    for i in range(150):
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
    assert reported > 75


def test_members_must_be_arrays_without_duplicates(path):
    for name in ("readme.txt", "\x1b[31m.npy", "a\nb.npy", "a" * 1001 + ".npy", "\x16" * 1000 + ".npy"):
        replace_member(path, name, DATA)
        assert len(error_of(path, r"is not a valid array name")) < 1500
        write_archive(path, HEADER, ARRAYS)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", DATA)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", DATA)
    error_of(path, "multiple members with the same name")


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
    error_of(path, "only plain numbers are allowed, not pickled objects")
    assert not (tmp_path / "boom").exists()
    np.lib.format.read_array(io.BytesIO(file.getvalue()), allow_pickle=True)
    assert (tmp_path / "boom").exists(), "the pickle would not create the directory even if it were loaded"


@pytest.mark.parametrize(
    "dtype", ["<c16", "|b1", "|S4", "<U2", "<M8[s]", "|V8", [("x", "|O")], [("x", "<f8")]], ids=str
)
def test_only_plain_numbers_are_allowed(path, dtype):
    replace_member(path, "a.npy", npy(dtype, (2,), bytes(2 * np.dtype(dtype).itemsize)))
    error_of(path, "only plain numbers")


@pytest.mark.parametrize("shape", [(10**12,), (2**40, 2**40), (3,), (2, 3, 2), (-1,), (-2, -3), (), (0,)])
def test_a_shape_that_does_not_match_the_data_is_rejected_before_allocation(path, shape):
    replace_member(path, "a.npy", npy("<f8", shape, bytes(40)))
    error_of(path, r"has shape .* but 40 bytes of data")


def test_a_corrupted_array_header_is_rejected(path):
    for content in (
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00\x10\x00" + bytes(16),  # an unknown version
        DATA[:50],
        npy("nonsense", (1,), bytes(8)),
        npy(",3", (1,), bytes(8)),
        npy("<f8", "shape", bytes(8)),
        npy("<f8", (-1, -5), bytes(40)),
        DATA.replace(b"'descr'", b"b'desc'"),
        DATA.replace(b"}", b"\0"),
    ):
        replace_member(path, "a.npy", content)
        error_of(path, "array a is (missing or )?corrupted|array a has")


def test_a_compressed_bomb_is_not_decompressed(path, monkeypatch):
    bomb = npy("<f8", (2**21,), bytes(2**24))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("bomb.npy", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    error_of(path, "it is compressed; save it without compression")


def test_overlapping_members_are_rejected(path):
    """If members share bytes, they can need far more memory than the file size suggests."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy("<f8", (2**16,), bytes(2**19)))
        first = file.infolist()[0]
        for i in range(20):
            twin = zipfile.ZipInfo(f"a{i}.npy")
            twin.header_offset, twin.CRC = 0, first.CRC
            twin.file_size = twin.compress_size = 2**19 + 128
            file.filelist.append(twin)
    error_of(path, "larger than the file")


@pytest.mark.parametrize("shared", [1, 29])
def test_a_member_that_includes_part_of_the_next_header_is_rejected(path, shared):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.npy", "b.npy"):
            file.writestr(name, DATA)
        first, second = file.infolist()
        first.compress_size = first.file_size = second.header_offset - first.header_offset - 30 + shared
    error_of(path, "its members overlap")


def test_a_header_must_be_a_json_object(tmp_path):
    for header in ("", "not JSON", "[1, 2]", "null", '{"a": 1', "[" * 100_000):
        np.savez(tmp_path / "toy.npz", header=np.array(header))
        error_of(tmp_path / "toy.npz", "its header is not")


def header_with(code_point, order):
    """Return a header, ``{"a": "…"}``, that contains a code point and is padded with NULs, as an array."""
    code_points = np.array([*map(ord, '{"a": "'), code_point, *map(ord, '"}\0\0')], f"{order}u4")
    return npy(f"{order}U{code_points.size}", (), code_points.tobytes())


@pytest.mark.parametrize("order", "<>")
def test_a_header_can_contain_any_character(path, order):
    for code_point in (0x10FFFF, 0xD800, 0x1F98A):
        replace_member(path, "header.npy", header_with(code_point, order))
        assert read_all(path)[0] == {"a": chr(code_point)}


def test_a_header_must_be_one_string(path):
    two_strings = npy("<U1", (2,), "{}".encode("utf-32-le"))
    number, text = npy("<f8", (), bytes(8)), npy("|S2", (), b"{}")
    above_10ffff = [header_with(0x110000, order) for order in "<>"]
    for member in (two_strings, number, text, npy("<U2", (), b"\xff" * 8), *above_10ffff):
        replace_member(path, "header.npy", member)
        error_of(path, "header")


def test_the_size_of_the_header_is_limited(path, monkeypatch):
    """A header that could not be read is not written either."""
    text = json.dumps(HEADER)
    monkeypatch.setattr(archive_module, "MAX_HEADER_BYTES", 4 * len(text))
    monkeypatch.setattr(archive_module, "MAX_HEADER_CHARACTERS", len(text))
    monkeypatch.setattr(archive_module, "MAX_HEADER_VALUES", 6)
    write_archive(path, HEADER, ARRAYS)
    assert same(read_all(path))
    content = path.read_bytes()
    for limit, unit in (("CHARACTERS", "characters"), ("VALUES", "values")):
        with monkeypatch.context() as patch:
            patch.setattr(archive_module, f"MAX_HEADER_{limit}", 5)
            error_of(path, f"its header has more than 5 {unit}")
            with pytest.raises(MinicharError, match=f"cannot write .*: its header has more than 5 {unit}"):
                write_archive(path, HEADER, {})
    assert path.read_bytes() == content
    monkeypatch.setattr(archive_module, "MAX_HEADER_BYTES", 4 * len(text) - 1)
    error_of(path, f"not a single string of at most {4 * len(text) - 1:,} bytes")


def test_a_full_disk_leaves_the_old_file_unchanged(path, monkeypatch):
    """A write error at any byte raises a `MinicharError` and leaves no temporary file behind."""
    before = path.read_bytes()
    size = len(before)
    for room in (0, 1, 300, size // 2, size - 30, size - 1):
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


def test_long_names_dtypes_and_shapes_are_truncated(path):
    dtype, shape = npy([("x" * 1000, "<f8")], (1,), bytes(8)), npy("<f8", (1,) * 3000)
    for array in (npy("|b1", (8,), bytes(8)), dtype, shape, b""):
        replace_member(path, f"{'a' * 1000}.npy", array)
        assert len(error_of(path, r"a{40}")) < len(str(path)) + 400
