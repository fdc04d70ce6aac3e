"""Test texts of several documents: directories of files, and ``--reset-on``, which all commands use."""

from pathlib import Path

import numpy as np
import pytest
from click import BadParameter
from toys import TEXT, TOY

from minichar import load
from minichar.cli.options import Escaped
from minichar.text.corpus import load_corpus
from minichar.training.evaluation import evaluate_blocks, evaluate_streams
from minichar.training.saved import settings_of
from minichar.training.text import lay_out


@pytest.fixture
def folder(home):
    """Create a directory whose files together contain the toy text."""
    path = home / "folder"
    path.mkdir()
    (path / "1.txt").write_text(TEXT[:100], encoding="utf-8")
    (path / "2.txt").write_text(TEXT[100:], encoding="utf-8")
    (path / "3.txt").write_bytes(b"")
    return path


def test_commands_read_the_files_of_a_directory_and_reset_the_state_between_them(cli, folder):
    trained = cli("train", "--data", "folder", *TOY)
    assert f"text       folder: 2 files, {len(TEXT)} characters, " in trained.stderr
    assert "           skipped empty file '3.txt'\n" in trained.stderr
    assert "the state is reset at the start of each file: 1 reset in the text\n" in trained.stderr
    path = trained.stdout.strip()
    cli("inspect", path, "--html", "page.html")
    assert "on folder" in Path("page.html").read_text(encoding="utf-8")
    result = cli("eval", path)
    assert "text        folder: validation split" in result.stdout
    assert "from a zero state, reset at the start of each file, " in result.stdout
    assert result.stderr.startswith("skipped empty file '3.txt'\n")
    one, two = (cli("eval", path, "--data", data, "--part", "whole") for data in ("folder", "input.txt"))
    assert one.stdout.splitlines()[2:] != two.stdout.splitlines()[2:]
    (folder / "2.txt").rename(folder / "0.txt")
    error = cli("train", "--resume", "cv", "--max-epochs", 3, status=1).stderr
    assert "folder is not the text that" in error


def test_a_directory_with_an_undecodable_file(refused, folder):
    (folder / "2.txt").write_bytes("été".encode("cp1252"))
    error = refused("train", "--data", "folder")
    assert error.startswith("Error: 'folder/2.txt' is not utf-8 text at byte offset 0")
    assert "--encoding cp1252 (été)" in error
    assert error.endswith("; all files must have the same encoding")
    for name in ("1.txt", "3.txt"):
        (folder / name).unlink()
    assert "same encoding" not in refused("train", "--data", "folder")


def test_the_separator_of_documents_is_used_by_all_commands(cli, home):
    trained = cli("train", "--data", "input.txt", *TOY, "--reset-on", r"\n")
    assert rf"the state is reset at '\n': {TEXT.count(chr(10))} resets in the text" in trained.stderr
    path = trained.stdout.strip()
    model, corpus = load(path), load_corpus("input.txt")
    split = lay_out(corpus, settings_of(model, path))
    resets, ids = model.resets(corpus.ids), corpus.ids
    results = {
        (): evaluate_streams(model, split.val.streams, resets=split.val.resets),
        ("--part", "train", "--block", 10): evaluate_blocks(
            model, split.train.streams, 10, resets=split.train.resets
        ),
        ("--part", "whole"): evaluate_streams(model, ids[None], resets=resets),
        ("--part", "whole", "--block", 16): evaluate_blocks(model, ids[None], 16, resets=resets),
    }
    for options, wanted in results.items():
        found = cli("eval", path, *options).stdout
        assert f"loss        {wanted.loss:.4f} nats per character" in found
        assert r", reset at '\n', " in found
    assert len({f"{result.loss:.4f}" for result in results.values()}) == 4
    assert r" --reset-on '\n' " in cli("inspect", path).stdout
    error = cli("train", "--resume", path, "--max-epochs", 4, "--reset-on", "a", status=1).stderr
    assert rf"--reset-on a cannot be used to resume {path}, which has '\n'" in error
    cli("convert", path, "small.npz")
    assert load("small.npz").reset_on == model.reset_on == "\n"
    (home / "other.txt").write_text(without := TEXT.replace("\n", " "), encoding="utf-8")
    result = cli("eval", path, "--data", "other.txt")
    assert f"{model.evaluate(without).loss:.4f} nats" in result.stdout
    surprisal, second = model.surprisal(TEXT[:80]), TEXT.index("\n")
    assert np.nanmean(surprisal) == pytest.approx(model.evaluate(TEXT[:80]).loss, rel=1e-6)
    np.testing.assert_allclose(model.surprisal(TEXT[second:80])[1:], surprisal[second + 1 :], rtol=1e-6)


def test_the_state_is_reset_at_separators_and_files(cli, folder):
    trained = cli("train", "--data", "folder", *TOY, "--reset-on", r"n.\n")
    where = r"reset at 'n.\n' and at the start of each file"
    assert f"the state is {where}: {1 + TEXT.count('n.' + chr(10))} resets in the text\n" in trained.stderr
    assert f", {where}, " in cli("eval", trained.stdout.strip()).stdout


def test_escape_sequences():
    for given, text in ((r".\n", ".\n"), (".\n", ".\n"), (r"e \\", "e \\"), ("", "")):
        assert Escaped().convert(given, None, None) == text
    for given in (r"\r", "\\", r"a\\\q", "\\\n"):
        with pytest.raises(BadParameter, match="is not an escape sequence: use one of "):
            Escaped().convert(given, None, None)
