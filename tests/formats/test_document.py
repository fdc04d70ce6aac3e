"""Run every command and code block in docs/formats.md, and check its table of formats."""

import pickle
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from converting import convert

from minichar.cli import main
from minichar.formats.convert import READERS
from minichar.formats.naming import SUFFIXES, TARGETS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
CHECKPOINT = "cv/lm_lstm_epoch2.00_1.8000.npz"


@pytest.fixture
def home(trained, tmp_path, monkeypatch, package):
    """Change to a directory that contains all the files that the document uses but does not create."""
    torch = package("torch")
    (tmp_path / "cv").mkdir()
    trained(model="lstm")[2].rename(tmp_path / CHECKPOINT)
    (tmp_path / "my.txt").write_text("\nabcdé詩", encoding="utf-8")
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"W": np.arange(3.0)}))
    np.savez(tmp_path / "from_cupy_savez.npz", W=np.arange(3.0))
    tensors = torch.load(convert(tmp_path / CHECKPOINT, tmp_path / "foreign.pt").path, weights_only=True)
    del tensors["minichar.json"]
    torch.save(tensors, tmp_path / "foreign.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands():
    lines = "".join(block for language, block in BLOCKS if language in ("sh", "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines]


def test_every_command_and_block_runs(home, package):
    for name in ("safetensors", "onnx", "onnxruntime"):
        package(name)
    assert len(commands()) == 12
    for command in commands():
        result = CliRunner().invoke(main, command.removeprefix("minichar ").split())
        assert result.exit_code == 0, f"{command}\n{result.output}"
    blocks = [block for language, block in BLOCKS if language == "py"]
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "formats.md", "exec"), {})


@pytest.fixture
def table():
    rows = re.findall(r"^\| (`\.\w+`.*?) \| (yes|no) \| (yes|no) \| (.*?) \|", DOCUMENT, re.MULTILINE)
    return {row[0]: (row[1] == "yes", row[2] == "yes", row[3]) for row in rows}


def test_the_table_agrees_with_the_code(table):
    assert len(table) == 7
    named = set()
    for first, (reads, writes, needs) in table.items():
        for suffix in re.findall(r"`(\.\w+)`", first):
            kind = SUFFIXES[suffix]
            named.add(suffix)
            assert reads == (kind in ("npz", "pickle", *READERS)), suffix
            assert writes == (kind in TARGETS), suffix
            assert (needs == "nothing") == (kind in ("npz", "pickle", "html")), suffix
    assert named == set(SUFFIXES)


def test_the_extras_in_the_table_are_declared(table):
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    named = [extra for _, _, needs in table.values() for extra in re.findall(r"`(\w+)` extra", needs)]
    assert len(named) == 3
    for extra in named:
        assert any(requirement.startswith(extra) for requirement in extras[extra])
