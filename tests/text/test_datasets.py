import hashlib
import json
import re
from dataclasses import replace

import pytest

import minichar.text.datasets as datasets
from minichar.errors import MinicharError
from minichar.text.datasets import BASE_URL, DATASETS, fetch, names_text, pystdlib_text
from minichar.text.pydocs import pydocs_text

POEMS = [
    [
        {"title": "在嶽詠蟬", "author": "駱賓王", "paragraphs": ["西陸蟬聲唱，", "南冠客思侵。"]},
        {"title": "登幽州臺歌", "paragraphs": ["前不見古人，"]},
    ],
    [{"title": "無題", "paragraphs": []}],
]
SOURCES = [json.dumps(poems).encode() for poems in POEMS]
TEXT = "在嶽詠蟬\n西陸蟬聲唱，\n南冠客思侵。\n\n登幽州臺歌\n前不見古人，\n\n無題\n"


@pytest.fixture
def answers(monkeypatch):
    """Add a dataset named toy, and return the list of file contents that its download returns."""
    toy = replace(
        DATASETS["tang300"],
        name="toy",
        files=("a.json", "b.json"),
        download_bytes=sum(map(len, SOURCES)),
        sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
    )
    monkeypatch.setitem(DATASETS, "toy", toy)
    answers = list(SOURCES)

    def download(base_url, paths, limit, progress):
        assert (base_url, paths, limit) == (BASE_URL, toy.files, toy.download_bytes)
        if progress:
            progress(limit)
        return answers

    monkeypatch.setattr(datasets, "download", download)
    return answers


def error_of(*args, **settings):
    with pytest.raises(MinicharError) as caught:
        fetch(*args, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_are_shuffled_in_the_same_order_everywhere():
    surnames = b"SMITH          1.006  1.006      1\r\nLEE            0.220  1.226      2\n"
    given_names = b"LEE            0.103  0.103      1\nANN            0.364  0.467      2\n"
    assert names_text([surnames, given_names]) == "Ann\nSmith\nLee\n"


def test_pystdlib_skips_tests_tables_and_generated_files(tmp_path, monkeypatch):
    for name, content in {
        "string.py": b"s = 1\n",
        "abc.py": "é = 1\n".encode(),
        "json/decoder.py": b"d = 1\n",
        "json/__init__.py": b"i = 1\n",
        "argparse.py": b"\xff\xfe no",
        **{f"{name}/a.py": b"no" for name in ("encodings", "idlelib", "lib2to3", "pydoc_data", "test")},
        "json/tests/test_it.py": b"no",
        "site-packages/numpy/__init__.py": b"no",
        "string.pyc": b"no",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(datasets.sysconfig, "get_path", lambda name: str(tmp_path))
    assert pystdlib_text() == "é = 1\n\ni = 1\n\nd = 1\n\ns = 1\n"
    monkeypatch.setattr(datasets.sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    with pytest.raises(MinicharError, match="no source files"):
        pystdlib_text()


def test_downloads_are_pinned_to_commits_and_hashes():
    assert " ".join(DATASETS) == "pydocs pystdlib tinyshakespeare tang300 quantangshi names linux"
    assert BASE_URL.startswith("https://")
    for dataset in DATASETS.values():
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9a-f]{40}/.+", path) for path in dataset.files)
        assert bool(dataset.files) == bool(dataset.sha256) == bool(dataset.download_bytes)


def test_a_download_is_written_to_its_directory(tmp_path, answers):
    sizes = []
    path = fetch("toy", tmp_path / "new" / "data", progress=sizes.append)
    assert path == tmp_path / "new" / "data" / "toy" / "input.txt"
    assert path.read_bytes() == TEXT.encode()
    assert [p.name for p in path.parent.iterdir()] == ["input.txt"]
    assert sum(sizes) == DATASETS["toy"].download_bytes
    answers.clear()  # the existing file is kept
    before = path.stat().st_ino
    assert fetch("toy", tmp_path / "new" / "data") == path
    assert path.stat().st_ino == before
    assert DATASETS["linux"].make([b"a;\n", b"b;\n"]) == "a;\n\nb;\n"


def test_pydocs_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "download", None)
    for _ in ("made", "kept"):
        assert fetch("pydocs", tmp_path).read_text(encoding="utf-8") == pydocs_text()


@pytest.mark.parametrize(
    "wrong",
    [b"[]", b"<html>", b"\xff", b"{}", b"[1]", b'[{"title": "x"}]', b"[" * 100_000, SOURCES[0] + b" 1"],
)
def test_unexpected_content_is_rejected(tmp_path, answers, wrong):
    answers[0] = wrong
    assert "does not match toy: its SHA-256 differs" in error_of("toy", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("answers")
def test_a_file_with_different_content_is_replaced_only_with_force(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    path, different = tmp_path / "toy" / "input.txt", "already exists with different content: move it, or use"
    path.parent.mkdir()
    path.write_text("my own work")
    assert f"{different} force=True" in error_of("toy", tmp_path)
    assert path.read_text() == "my own work"
    assert fetch("toy", tmp_path, force=True).read_bytes() == TEXT.encode()
    with monkeypatch.context() as patched:
        patched.setattr(type(path), "read_bytes", refuse)
        assert different in error_of("toy", tmp_path)
    path.unlink()
    path.mkdir()
    assert different in error_of("toy", tmp_path)
    assert "cannot write" in error_of("toy", tmp_path, force=True)
    assert [p.name for p in path.parent.iterdir()] == ["input.txt"]


def test_an_unknown_name_is_an_error(tmp_path):
    assert "unknown dataset 'toys': choose one of pydocs, pystdlib" in error_of("toys", tmp_path)
    assert error_of("shakespeare", tmp_path).endswith("; did you mean 'tinyshakespeare'?")
