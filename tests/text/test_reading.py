import bz2
import codecs
import gzip
import lzma
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections import Counter
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from text_helpers import error_of, text_of

from minichar.errors import MinicharError
from minichar.files import descriptor_of
from minichar.text import encodings, reading
from minichar.text.corpus import load_corpus
from minichar.text.encodings import suggest
from minichar.text.joining import Text
from minichar.text.vocabulary import CODE_POINTS

TEXT = st.text(st.sampled_from("ab\r\n\r\n\0é世\ufeff\U0001f600"))
ENCODINGS = st.sampled_from(["utf-8", "gb18030", "utf-16", "utf-16-le", "utf-32", "utf-7"])


def written(folder, content):
    path = folder / "text.txt"
    path.write_bytes(content)
    return path


@settings(max_examples=40)
@given(TEXT, ENCODINGS, st.integers(12, 30))
@example("\ufeff\x00😀", "utf-7", 12)  # the first 12 bytes decode to nothing
@example("a" * 11 + "\r\nb", "utf-8", 12)  # CR LF in two blocks
def test_joined_pieces_equal_the_whole_text(text, encoding, size):
    raw = text.encode(encoding)
    whole = raw.decode(encoding)
    changes = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", size)
        joined = "".join(reading.Source(partial(BytesIO, raw), encoding, "text.txt").pieces(changes))
    assert joined == whole.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert changes["BOM"] == whole.startswith("\ufeff")
    assert changes["CR LF"] == whole.count("\r\n")
    assert changes["CR"] == whole.count("\r") - whole.count("\r\n")


@settings(max_examples=40)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from([b"\xff", b"\xc3(", b"\xe4\xb8", b"\xed\xa0\x80"]),
    st.integers(12, 30),
)
def test_the_offset_of_invalid_bytes_is_exact(text, invalid, size):
    raw = text.encode() + invalid + b"the end"
    with pytest.raises(UnicodeDecodeError) as expected:
        raw.decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", size)
        patch.setattr(reading, "suggest", lambda *_: [])  # takes most of the time
        with pytest.raises(MinicharError) as caught:
            Text.from_bytes("text.txt", raw, "utf-8").count()
    assert f"at byte offset {expected.value.start:,} (" in str(caught.value)


def test_the_error_for_a_wrong_encoding_suggests_a_likely_encoding(tmp_path):
    novel = written(tmp_path, "他沿著江邊走，天色漸漸暗了。\n".encode("gb18030"))
    problem = "not utf-8 text at byte offset 0 (invalid continuation byte): "
    assert error_of(novel).endswith(f"{problem}try encoding='gb18030' (他沿著江邊走，天色漸漸暗了。)")
    western = error_of(written(tmp_path, "un été à la mer".encode("cp1252")))
    both = "encoding='cp1252' (été à la mer), encoding='cp1250' (été ŕ la mer)"
    assert western.endswith(f"choose an encoding that gives readable text: {both}")
    same = error_of(written(tmp_path, "un été".encode("cp1252")))
    assert same.endswith("try encoding='cp1252' (été)")


CUT = "江邊".encode()[:-1], "江邊".encode("gb18030")[:-1]
REFUSED = [
    (b"ab\x81\x20cd", "utf-8", r"\(invalid start byte\): set encoding to the correct encoding$"),
    (CUT[0], "utf-8", r"byte offset 3 \(unexpected end of data\), at the end: the file may be truncated"),
    (CUT[1], "gb18030", "may be truncated"),
    (codecs.BOM_UTF16_LE + b"a\0\0\xd8b\0", "utf-16", "illegal.*(?<!mark, so use encoding='utf-16')$"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "utf-8", "looks like a binary file$"),
    ("a \0 in it".encode("utf-16"), "utf-16", "looks like a binary file$"),
    (b"a \0 in it", "utf-8", r"byte offset 2: remove them, .*`tr -d '\\0' < \S+ > clean\.txt`$"),
    (codecs.BOM_UTF8, "utf-8", "is empty: choose a longer text$"),
    (b"\r\n", "utf-8", "has only one character"),
    *[(b"text", name, f"unknown encoding {re.escape(repr(name))}") for name in ("klingon", "hex", "a\0b")],
    (b"text", "x" * 100_000, r"^unknown encoding 'x{20,100}\.\.\."),
]


@pytest.mark.parametrize(("raw", "encoding", "words"), REFUSED)
def test_what_is_not_text_is_refused(tmp_path, raw, encoding, words):
    words = words.replace("binary file$", "binary file: choose a text file$")
    assert re.search(words, error_of(written(tmp_path, raw), encoding=encoding))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le"])
@pytest.mark.parametrize("head", ["a\n" * 90_000, "c" * 90_001], ids=["lines", "one line"])
def test_the_suggestion_does_not_depend_on_what_is_far_from_the_error(tmp_path, monkeypatch, encoding, head):
    for module in (encodings, reading):
        monkeypatch.setattr(module, "SAMPLE", 1 << 12)
    raw = (head + "春天来了，河边的树都绿了。\n" * 600).encode(encoding)
    with pytest.raises(UnicodeDecodeError) as expected:
        raw.decode()
    (name, excerpt), *_ = suggest(raw, expected.value.start, "utf-8")
    assert name == encoding
    assert f"encoding={name!r} ({excerpt})" in error_of(written(tmp_path, raw))


def test_the_first_nul_may_be_anywhere(tmp_path):
    raw = b"a" * 2_999_999 + b"\n" + ("some text\n" * 50).encode("utf-16-le")
    line = error_of(written(tmp_path, raw))
    assert "contains NUL characters: try encoding='utf-16-le' (some text some t)" in line


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0", "contains NUL characters, the first at byte offset 0: remove them"),
        (b"\0" * 100, "contains NUL characters, so it looks like a binary file"),
        (b"\xff\0", "at byte offset 0 (invalid start byte): it looks like a binary file"),
        (b"\xff\x81 ", "at byte offset 0 (invalid start byte): set encoding"),
    ],
)
def test_an_error_at_the_start_is_reported_before_the_rest_is_read(tmp_path, monkeypatch, start, words):
    class Start(BytesIO):
        def read(self, size):
            assert self.tell() <= 3 * reading.PIECE
            return super().read(size)

    monkeypatch.setattr(reading, "PIECE", 1 << 16)
    raw = start + b"some text\n" * 100_000
    source = reading.Source(partial(Start, raw), "utf-8", "text.txt")
    with pytest.raises(MinicharError) as caught:
        source.count(np.zeros(CODE_POINTS, np.int64), Counter())
    assert words in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf16_and_utf32_are_recognised_by_their_byte_order_mark(tmp_path, encoding):
    path, name = written(tmp_path, "\ufeffsome text".encode(encoding)), encoding[:6]
    assert error_of(path).endswith(f"use encoding={name!r}")
    assert text_of(load_corpus(path, encoding=name)) == "some text"


def test_utf16_without_a_byte_order_mark_is_an_error(tmp_path):
    path = written(tmp_path, "some text".encode("utf-16-be"))
    assert "does not start with BOM" in error_of(path, encoding="utf-16")
    assert "try encoding='utf-16-be' (some text)" in error_of(path, encoding="utf-16")
    assert "NUL" in error_of(path)
    gibberish = written(tmp_path, bytes(range(128, 160)))
    assert error_of(gibberish, encoding="utf-16").endswith("set encoding to the correct encoding")
    assert "utf-16-le text at byte offset 2" in error_of(written(tmp_path, b"a\0b"), encoding="utf-16-le")


def zipped(content):
    with zipfile.ZipFile(file := BytesIO(), "w") as archive:
        archive.writestr("book.txt", content)
    return file.getvalue()


ENCODED = {
    ".gz": (gzip.compress, "is compressed: decompress it with `gunzip -k {}`"),
    ".bz2": (bz2.compress, "is compressed: decompress it with `bunzip2 -k {}`"),
    ".xz": (lzma.compress, "is compressed: decompress it with `unxz -k {}`"),
    "": (gzip.compress, "is compressed: decompress it first"),
    ".zip": (zipped, "is a zip archive: extract its text files first"),
    ".epub": (zipped, "is an e-book: convert it to plain text first"),
    ".docx": (zipped, "is a word-processor document: save it as plain text first"),
    ".odt": (zipped, "is a word-processor document: save it as plain text first"),
    ".doc": (b"\xd0\xcf\x11\xe0\xa1".__add__, "is an office document: save it as plain text first"),
    ".rtf": (rb"{\rtf1\ansi ".__add__, "is an RTF document: save it as plain text first"),
    ".pdf": (b"%PDF-1.4\n".__add__, "is a PDF document: extract its text with `pdftotext {}`"),
}


@pytest.mark.parametrize("suffix", ENCODED)
def test_files_that_contain_encoded_text_are_explained(tmp_path, suffix):
    encode, advice = ENCODED[suffix]
    path = tmp_path / f"my book{suffix}"
    path.write_bytes(encode(b"It was a dark and stormy night.\n" * 50))
    assert error_of(path) == f"{str(path)!r} {advice.format(shlex.quote(str(path)))}"
    command = re.search("`(.*)`", error_of(path))
    if command and shutil.which(command[1].split()[0]) and suffix != ".pdf":
        subprocess.run(command[1], shell=True, check=True)
        assert text_of(load_corpus(path.with_suffix(""))).startswith("It was a dark")


def test_text_that_begins_almost_like_another_format_is_read(tmp_path):
    for start in ("PK", "BZh", "PDF-", "{rtf", "%PDF", "a %PDF-1.4"):
        assert text_of(load_corpus(written(tmp_path, f"{start} is text".encode()))) == f"{start} is text"


def test_the_file_without_nul_characters_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("clean.txt").write_bytes(b"It \0was")
    assert error_of(Path("clean.txt")).endswith(r"`tr -d '\0' < clean.txt > clean-2.txt`")


def test_a_missing_dataset_can_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    remedy = "get it with `minichar data get names` and use 'data/names'"
    for name in ("names", "data/names"):
        assert error_of(Path(name)) == f"{name!r} does not exist: {remedy}"
    Path("data/names").mkdir(parents=True)
    Path("data/names/input.txt").write_text("text")
    assert error_of(Path("names")) == "'names' does not exist: use 'data/names'"


def test_a_model_is_not_a_text(tmp_path):
    for name, way in (("cv/a.npz", "--resume"), ("b.safetensors", "my.txt --init-from")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"PK\0")
        assert error_of(path).endswith(f"not a text: to train it further, use `minichar train {way} {path}`")
    assert error_of(tmp_path / "cv").endswith(f"use `minichar train --resume {tmp_path / 'cv'}`")
    (tmp_path / "cv" / "input.txt").write_text("text")
    assert text_of(load_corpus(tmp_path / "cv")) == "text"
    (tmp_path / "b.pt").write_text("um texto")
    assert text_of(load_corpus(tmp_path / "b.pt")) == "um texto"


def test_a_missing_file_is_an_error(tmp_path, monkeypatch):
    for name in ("no/folder", "a\0b", "line\nbreak"):
        assert "does not exist: choose a text file" in error_of(tmp_path / name)
    (tmp_path / "a.txt").symlink_to("nowhere")
    assert f"{str(tmp_path / 'a.txt')!r} does not exist" in error_of(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "loop" in error_of(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    remedy = "save it to a file, or use `minichar train` or `minichar sweep`"
    assert error_of(Path("-")) == f"cannot read the text from standard input ('-') here: {remedy}"


def test_a_file_or_directory_with_a_similar_name_is_suggested_if_it_has_text(tmp_path):
    def suggested():
        line = error_of(tmp_path / "nvoel.txt")
        assert line.endswith(f"does not exist: choose {str(path)!r}") or "choose a text file" in line
        return str(path) in line

    path = tmp_path / "novel.txt"
    for content, expected in ((b"text", True), (b"\0", False)):
        path.write_bytes(content)
        assert suggested() == expected
    path.unlink()
    path.mkdir()
    assert not suggested()
    (path / "input.txt").write_text("text")
    assert suggested()
    path.rename(tmp_path / "elsewhere")
    os.mkfifo(path)
    assert not suggested()


def test_a_suffix_alone_does_not_make_names_similar(tmp_path):
    (tmp_path / "tiny.txt").write_text("text")
    (tmp_path / "a.txt").write_text("text")
    assert "tiny.txt" not in error_of(tmp_path / "mine.txt")
    for missing, meant in (("tiny.tx", "tiny.txt"), ("A.txt", "a.txt")):
        assert f"choose {str(tmp_path / meant)!r}" in error_of(tmp_path / missing)


def test_the_error_for_a_missing_data_set_contains_the_download_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path("data/tang300"), tmp_path / "data" / "tang300"):
        assert "minichar data get tang300" in error_of(path)
    assert "minichar data get" not in error_of(Path("elsewhere/tang300"))
    Path("data/tang300").mkdir(parents=True)
    assert "minichar data get tang300" in error_of(Path("data/tang300/"))


def test_only_regular_files_are_read(tmp_path):
    """Reading some files in /proc blocks forever, and /proc/kcore appears to be 128 TB long."""
    (tmp_path / "input.txt").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "status").symlink_to("/proc/self/status" if Path("/proc/self").exists() else "pipe")
    for path in (tmp_path, *(tmp_path / name for name in ("pipe", "link", "status"))):
        assert "not a regular file" in error_of(path)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="requires /dev/fd")
def test_file_descriptors_are_not_read(tmp_path):
    """The text could not be found again, and its cache would be written to /dev."""
    with open(written(tmp_path, b"the river"), "rb") as file:
        assert "not a regular file" in error_of(Path(f"/dev/fd/{file.fileno()}"))
    assert descriptor_of(Path("/dev/stdin")) == 0


def test_an_unreadable_file_is_an_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, b"secret")
    monkeypatch.setattr("minichar.text.joining.FileIO", refuse)
    assert error_of(path) == f"cannot read {str(path)!r}: Permission denied"
