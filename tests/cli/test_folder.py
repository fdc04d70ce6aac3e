"""Test that commands accept a directory of text files wherever they accept a text file."""

from pathlib import Path

import pytest
from toys import TEXT, TOY

from minichar import load


@pytest.fixture
def folder(home):
    """Create a directory whose files together contain the toy text."""
    path = home / "folder"
    path.mkdir()
    (path / "1.txt").write_text(TEXT[:100], encoding="utf-8")
    (path / "2.txt").write_text(TEXT[100:], encoding="utf-8")
    (path / "3.txt").write_bytes(b"")
    return path


@pytest.fixture
def trained(cli, folder):
    return cli("train", "--data", "folder", *TOY)


def test_training_reports_the_number_of_files(trained, train):
    assert f"text       folder: 2 files, {len(TEXT)} characters, " in trained.stderr
    assert "           skipped empty file '3.txt'\n" in trained.stderr
    assert "the state is reset at the start of each file: 1 reset in the text\n" in trained.stderr
    model = load(trained.stdout.strip())
    assert model.details["origin"]["path"] == "folder"
    joined = load(train())
    assert joined.vocabulary == model.vocabulary
    assert joined.parameters["readout.W"].tobytes() != model.parameters["readout.W"].tobytes()


def test_a_run_is_resumed_on_the_same_files(cli, trained, folder):
    resumed = cli("train", "--resume", "cv", "--max-epochs", 3)
    assert "folder: 2 files" in resumed.stderr
    (folder / "2.txt").rename(folder / "0.txt")
    stderr = cli("train", "--resume", "cv", "--max-epochs", 4, status=1).stderr
    assert "folder is not the text that" in stderr


def test_other_commands_read_the_folder(cli, trained, folder):
    path = trained.stdout.strip()
    cli("inspect", path, "--html", "page.html")
    assert "on folder" in Path("page.html").read_text(encoding="utf-8")
    result = cli("eval", path)
    assert "text        folder: validation split" in result.stdout
    assert "from a zero state, reset at the start of each file, " in result.stdout
    assert result.stderr.startswith("skipped empty file '3.txt'\n")
    whole = [
        cli("eval", path, "--data", data, "--split", "whole").stdout.splitlines()[2:]
        for data in ("folder", "input.txt")
    ]
    assert whole[0] != whole[1]  # the state is reset at the start of a file


def test_the_state_is_reset_at_separators_and_files(cli, folder):
    trained = cli("train", "--data", "folder", *TOY, "--reset-on", r"n.\n")
    where = r"reset at 'n.\n' and at the start of each file"
    assert f"the state is {where}: {1 + TEXT.count('n.' + chr(10))} resets in the text\n" in trained.stderr
    assert f", {where}, " in cli("eval", trained.stdout.strip()).stdout


def test_a_folder_with_an_undecodable_file(cli, folder):
    (folder / "2.txt").write_bytes("été".encode("cp1252"))
    error = cli("train", "--data", "folder", *TOY, status=1).stderr
    assert error.startswith("Error: 'folder/2.txt' is not utf-8 text at byte offset 0")
    assert "--encoding cp1252 (été)" in error
    assert error.endswith("; all files must have the same encoding\n")
    for name in ("1.txt", "3.txt"):
        (folder / name).unlink()
    assert "same encoding" not in cli("train", "--data", "folder", *TOY, status=1).stderr
