import hashlib
import re
import textwrap
from dataclasses import replace
from functools import partial

import pytest

import minichar.text.datasets as datasets
from minichar.text.datasets import DATASETS, Dataset
from minichar.text.pydocs import pydocs_text


@pytest.fixture
def run(cli):
    """Return a function that runs `minichar data`."""
    return partial(cli, "data")


@pytest.fixture
def toy(monkeypatch):
    """Replace tang300 with a tiny dataset that is downloaded in two blocks."""

    def download(base_url, paths, limit, progress):
        if progress:
            progress(4)
            progress(5)
        return [b"fourfive!"]

    toy = Dataset(
        name="tang300",
        description="nine characters",
        language="English",
        source="here",
        licence="none",
        characters=9,
        make=lambda sources: sources[0].decode(),
        files=("x",),
        download_bytes=9,
        sha256=hashlib.sha256(b"fourfive!").hexdigest(),
    )
    monkeypatch.setattr(datasets, "download", download)
    monkeypatch.setitem(DATASETS, "tang300", toy)
    return toy


def test_list_prints_a_table_of_all_datasets(run):
    result = run("list")
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["NAME", "CHARACTERS", "LANGUAGE", "LICENCE"]
    assert [row.split()[0] for row in rows] == list(DATASETS)
    start = head.index("LICENCE")
    assert max(map(len, rows)) <= 80
    assert all(row[start - 2 : start] == "  " and row[start] != " " for row in rows)
    assert "  1,115,394  " in result.stdout
    assert "  about 300,000  " in result.stdout


def test_get_prints_the_path_and_the_next_command(run, tmp_path):
    result = run("get", "pydocs")
    assert result.stdout == "data/pydocs/input.txt\n"
    assert result.stderr.splitlines() == [
        "pydocs: the prose of Python's help topics, the default text (included in Python)",
        "next: minichar train data/pydocs",
    ]
    assert (tmp_path / "data/pydocs/input.txt").read_text(encoding="utf-8") == pydocs_text()


def test_next_command_includes_the_options_that_suit_the_text(run, toy, monkeypatch):
    monkeypatch.setitem(DATASETS, "tang300", replace(toy, options=DATASETS["names"].options))
    result = run("get", "tang300", "--dir", "my texts")
    assert result.stdout == "my texts/tang300/input.txt\n"
    assert "next: minichar train 'my texts/tang300' --reset-on '\\n'\n" in result.stderr
    assert "Downloading" not in result.stderr


@pytest.mark.usefixtures("toy")
def test_a_download_is_shown_on_a_terminal_and_overwrites_a_different_file_with_force(
    run, terminal, tmp_path
):
    first = run("get", "tang300")
    assert first.stdout == "data/tang300/input.txt\n"
    assert re.search("Downloading tang300 .*100%", first.stderr)
    second = run("get", "tang300")
    assert second.stdout == first.stdout
    assert "already exists, verified" in second.stderr
    assert "Downloading" not in second.stderr + run("get", "pydocs").stderr
    (path := tmp_path / "data/tang300/input.txt").write_text("mine")
    result = run("get", "tang300", status=1)
    assert "--force" in result.stderr
    assert path.read_text() == "mine"
    assert "already exists" not in run("get", "tang300", "--force").stderr
    assert path.read_text() == "fourfive!"


def test_a_missing_name_is_a_usage_error_of_at_most_five_lines(run):
    result = run("get", status=2)
    assert f"Error: Missing argument 'NAME'. Choose one of {', '.join(DATASETS)}.\n" in result.stderr
    assert sum(len(textwrap.wrap(line, 80)) or 1 for line in result.stderr.splitlines()) <= 5
