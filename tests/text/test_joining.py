import codecs
import os
import subprocess
from hashlib import sha256
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
from text_helpers import error_of, text_of

from minichar.errors import MinicharError
from minichar.text.corpus import load_corpus
from minichar.text.finding import _text_files
from minichar.text.joining import Text
from minichar.text.vocabulary import Vocabulary


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.txt").write_text("second, ")
    (tmp_path / "a.txt").write_text("first, ")
    (tmp_path / "c.TXT").write_text("third")
    return tmp_path


def test_the_files_of_a_directory_are_joined_in_name_order(folder):
    for name in (".hidden.txt", "readme.md", "txt", "d.txt~"):
        (folder / name).write_text("ignored")
    (folder / "sub.txt").mkdir()
    (folder / "sub.txt" / "e.txt").write_text("ignored")
    corpus = load_corpus(folder)
    assert text_of(corpus) == "first, second, third"
    assert corpus.starts.tolist() == [0, 7, 15]
    assert corpus.starts.dtype == np.int64
    assert corpus.path == str(folder)
    digests = b"".join(sha256(content).digest() for content in (b"first, ", b"second, ", b"third"))
    assert corpus.digest == sha256(digests).hexdigest()
    assert corpus.notes == ()
    for name in ("b.txt", "c.TXT"):
        (folder / name).unlink()
    corpus = load_corpus(folder)
    assert (corpus.starts.tolist(), corpus.path) == ([0], str(folder))
    assert corpus.digest == sha256(b"first, ").hexdigest() == load_corpus(folder / "a.txt").digest


def test_input_txt_takes_precedence(folder, monkeypatch):
    (folder / "input.txt").write_text("the input")
    corpus = load_corpus(folder)
    assert text_of(corpus) == "the input"
    assert corpus.path == str(folder / "input.txt")
    note = f"reading only {corpus.path!r}: other .txt files in {str(folder)!r} are ignored"
    assert corpus.notes == (note,)
    assert load_corpus(folder / "input.txt").notes == ()
    for name in ("a.txt", "b.txt", "c.TXT"):
        (folder / name).unlink()
    assert load_corpus(folder).notes == ()

    def fail(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    assert load_corpus(folder).notes == ()


def test_files_are_sorted_in_code_point_order_on_windows_too():
    class WindowsPath(PureWindowsPath):
        def is_dir(self):
            return False

    names = ["a.txt", "B.txt", "é.txt", "10.txt", "9.txt"]
    folder = SimpleNamespace(iterdir=lambda: [WindowsPath("novels", name) for name in names])
    assert [path.name for path in _text_files(folder)] == ["10.txt", "9.txt", "B.txt", "a.txt", "é.txt"]


def test_a_directory_without_text_files_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / ".hidden.md").write_text("hidden")
    (tmp_path / "d.md").mkdir()
    (tmp_path / "Makefile").write_text("all:")
    os.mkfifo(tmp_path / "pipe.md")
    line = error_of(tmp_path)
    assert line.endswith("choose a text file, or a directory that contains input.txt or other .txt files")
    (tmp_path / "readme.md").write_text("only one")
    assert error_of(tmp_path).endswith(f"contains no .txt files: choose {str(tmp_path / 'readme.md')!r}")


def test_a_directory_of_other_text_files_is_answered_with_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("-my code")
    folder.mkdir()
    (folder / "a.c").write_text("int a;\n" * 9)
    (folder / "b.c").write_text("int b;\n")
    (folder / "empty.c").touch()
    (folder / "long.dat").write_text("int c;\n" * 99)
    (folder / "binary.dat").write_bytes(b"\0")
    for name in ("readme", "notes", "to do"):
        (folder / f"{name}.md").write_text("short\n")
    join = "cat './-my code'/*.c > './-my code/input.txt'"
    problem = "'-my code' contains no .txt files"
    assert error_of(folder) == f"{problem}: to use its 2 .c files, join them with `{join}`"
    subprocess.run(join, shell=True, check=True)
    assert text_of(load_corpus(folder)) == "int a;\n" * 9 + "int b;\n"
    for name in ("verse", "names", "empty"):
        (folder / name).mkdir()
    (folder / "verse" / "input.txt").write_text("text")
    (folder / "input.txt").rename(folder / "names" / "input.txt")
    assert error_of(folder) == f"{problem}: choose '-my code/names' or '-my code/verse'"


def test_every_file_is_decoded_separately(folder):
    (folder / "a.txt").write_bytes(codecs.BOM_UTF8 + b"a\r")  # b.txt starts with LF, but this is not CR LF
    (folder / "b.txt").write_bytes(codecs.BOM_UTF8 + b"\nb\r\n")
    corpus = load_corpus(folder)
    assert text_of(corpus) == "a\n\nb\nthird"
    assert corpus.starts.tolist() == [0, 2, 5]
    notes = ("removed byte-order marks from 2 files", "converted 1 CR LF and 1 CR line endings to LF")
    assert corpus.notes == notes
    (folder / "a.txt").write_bytes("é".encode()[:1])
    (folder / "b.txt").write_bytes("é".encode()[1:])
    assert f"{str(folder / 'a.txt')!r} is not utf-8 text at byte offset 0" in error_of(folder)


def test_empty_files_are_skipped(folder):
    (folder / "a.txt").write_bytes(b"")
    corpus = load_corpus(folder)
    assert text_of(corpus) == "second, third"
    assert corpus.starts.tolist() == [0, 8]
    assert corpus.notes == ("skipped empty file 'a.txt'",)
    for name in ("d", "e", "f", "g"):
        (folder / f"{name}.txt").write_bytes(codecs.BOM_UTF8)
    corpus = load_corpus(folder)
    assert corpus.starts.tolist() == [0, 8]
    assert corpus.notes[0] == "skipped empty files 'a.txt', 'd.txt', 'e.txt' and 2 more"


def test_a_byte_order_mark_of_another_encoding_gives_a_note(folder):
    (folder / "a.txt").write_bytes(codecs.BOM_UTF8 + b"first")
    note = "with a UTF-8 byte-order mark: the encoding may be utf-8"
    for encoding in ("cp1252", "latin-1", "gb18030"):
        assert load_corpus(folder, encoding=encoding).notes == (f"the text starts {note}",)
    assert text_of(load_corpus(folder, encoding="cp1252")).startswith("ï»¿first")
    (folder / "b.txt").write_bytes(codecs.BOM_UTF8 + b"second")
    assert load_corpus(folder, encoding="cp1252").notes == (f"2 files start {note}",)
    for encoding in ("utf-8", "UTF8", "utf_8_sig"):
        assert load_corpus(folder, encoding=encoding).notes == ("removed byte-order marks from 2 files",)
    (folder / "c.TXT").write_bytes("\ubbef\u01bf".encode("utf-16-le"))
    for name in ("a.txt", "b.txt"):
        (folder / name).unlink()
    assert load_corpus(folder, encoding="utf-16-le").notes == (f"the text starts {note}",)


@pytest.mark.parametrize("when", ["after counting", "while encoding"])
@pytest.mark.parametrize("change", ["first, f", "first", "1st, !!", "FIRST, "])
def test_a_change_is_an_error(folder, text_cache, monkeypatch, when, change):
    """Otherwise, the cache would contain the ids of one version and the digest of another."""

    def then_change(function):
        def changing(*arguments):
            result = function(*arguments)
            (folder / "a.txt").write_text(change)
            os.utime(folder / "a.txt", (0, 0))
            return result

        return changing

    where, name = (Text, "count") if when == "after counting" else (Vocabulary, "encode")
    monkeypatch.setattr(where, name, then_change(getattr(where, name)))
    for min_freq in (0, 1):
        (folder / "a.txt").write_text("first, ")
        assert "changed while it was being read: try again" in error_of(folder, min_freq=min_freq)
    assert list(text_cache.iterdir()) == []


@pytest.mark.parametrize("N", [2, 4])
def test_the_number_of_characters_is_checked(N):
    text = Text.from_bytes("memory", b"abc", "utf-8")
    with pytest.raises(MinicharError, match=r"^'memory' changed while it was being read"):
        list(text.encode(Vocabulary("abc"), N))
