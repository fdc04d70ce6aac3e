"""Test docs/howto/own-cell.md: every command supports a custom cell or fails with a one-line error."""

import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from minichar.cli import main
from minichar.engine import lstm
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.engine.registry import CELLS
from minichar.pictures import activity

PAGE = (Path(__file__).parents[1] / "docs" / "howto" / "own-cell.md").read_text(encoding="utf-8")
SMALL = "--rnn-size 8 --batch-size 5 --device cpu"
CODE, PROGRAM = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Create a directory with text and ``mgu.py``, and register its cell for the tests in this file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        (home / "mgu.py").write_text(CODE, encoding="utf-8")
        (home / "data" / "pydocs").mkdir(parents=True)
        (home / "data" / "pydocs" / "input.txt").write_text("abc def, ghi.\n" * 300, encoding="utf-8")
        patch.chdir(home)
        patch.syspath_prepend(home)
        import_module("mgu")
        yield home
    del CELLS["mgu"], sys.modules["mgu"]


@pytest.fixture(scope="module")
def cv(home):
    """Train for two epochs, and return the checkpoint directory."""
    result = minichar(f"train --model mgu --dropout 0.2 {SMALL} --max-epochs 2")
    assert "MGU, 2 layers of 8" in result.stderr
    assert Path(result.stdout.strip()).name.startswith("lm_mgu_epoch2.00_")
    return home / "cv"


@pytest.fixture
def bare(monkeypatch):
    """Register a cell with only the required attributes."""
    stage = Stage((Product("Q", "ifog"),), lstm.forward, lstm.backward, "i f o g c_prev tanh_c")
    monkeypatch.setitem(CELLS, "bare", Cell("bare", "bare cell", "hc", (stage,)))


def minichar(command, exit_code=0):
    """Run a command, check its exit status, and check that it prints no traceback."""
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == exit_code, f"{command}\n{result.output}{result.exception!r}"
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refusal(command):
    """Run a command that must fail, and return its one-line error."""
    *_, line = minichar(command, 1).stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.usefixtures("home")
def test_forward_matches_the_equations_on_the_page():
    generator = np.random.default_rng(4)
    network = toy_network(Config(7, "mgu", 5, 1), 6, 4, generator)
    p, h = network.parameters, network.state[0, 0]  # (H, B)
    ids = generator.integers(7, size=(6, 4))
    network.forward(ids)
    for t in range(6):
        x = p["layer1.Wx"][:, ids[t]]  # (2H, B)
        ones = np.ones((1, 4))
        f = 1 / (1 + np.exp(-(p["layer1.W"] @ np.vstack([h, ones]) + x[:5])))
        n = np.tanh(p["layer1.Wn"] @ np.vstack([f * h, ones]) + x[5:])
        h = (1 - f) * h + f * n
        np.testing.assert_allclose(network.layers[0].states[t + 1][0], h, rtol=1e-12)


@pytest.mark.usefixtures("home")
def test_gradcheck_and_help():
    rows = minichar("gradcheck --model mgu --device cpu --rnn-size 3 --seq-length 4").stdout.splitlines()
    names = ["layer1.W", "layer1.Wn", "layer1.Wx", "layer2.W", "layer2.Wn", "readout.W"]
    assert [(row.split()[0], row.split()[-1]) for row in rows[1:]] == [(name, "passed") for name in names]
    for command in ("train", "gradcheck"):
        assert re.search(r"--model \S*mgu", minichar(f"{command} --help").stdout)


@pytest.mark.usefixtures("cv")
def test_sample_eval_convert_and_resume():
    text = minichar("sample cv --length 30 --seed 5 --device cpu").stdout
    assert len(text) >= 30
    minichar("convert cv mgu.npz")
    assert minichar("sample mgu.npz --length 30 --seed 5 --device cpu").stdout == text
    assert minichar("sample --exact --length 30 --seed 5 --device cpu").stdout
    assert "MGU" in minichar("eval --device cpu").stdout
    resumed = minichar("train --resume cv --max-epochs 3 --checkpoint-dir cv-resumed --device cpu").stdout
    assert "lm_mgu_epoch3.00_" in resumed


@pytest.mark.usefixtures("cv")
def test_plot_and_inspect(monkeypatch):
    assert "validation" in minichar("plot").stdout
    assert "layer2.Wn" in minichar("inspect").stdout
    for shown in ("h", "f"):
        minichar("inspect --text data/pydocs --html mgu.html")
        page = Path("mgu.html").read_text(encoding="utf-8")
        assert re.findall(r'"layer":(\d),"name":"(\w)"', page) == [("1", shown), ("2", shown)]
        monkeypatch.setitem(activity.SHOWN, "mgu", "f")
    monkeypatch.setitem(activity.SHOWN, "mgu", "o")
    words = "Error: the cell has no 'o' to show; it has f, h, h_prev, n"
    assert refusal("inspect --text data/pydocs --html mgu.html") == words


@pytest.mark.usefixtures("cv")
def test_unsupported_formats_fail_with_the_message_on_the_page():
    rows = re.findall(r"^\| `convert cv-mgu (.*?)` \| (MGU .*?) \|$", PAGE, re.MULTILINE)
    assert rows
    targets = {target: words for files, words in rows for target in files.split("`, `")}
    assert targets.keys() == {"mgu.pt", "mgu.safetensors", "mgu.onnx", "page.html"}
    for target, words in targets.items():
        assert words in refusal(f"convert cv {target}")
        assert not Path(target).exists()


@pytest.mark.usefixtures("home")
def test_program_on_the_page_trains():
    names = {}
    exec(compile(PROGRAM.replace("max_epochs=5", "max_epochs=1"), "own-cell.md", "exec"), names)
    assert names["model"].config.model == "mgu"


@pytest.mark.usefixtures("cv")
def test_checkpoint_of_an_unregistered_cell_is_refused():
    cell = CELLS.pop("mgu")
    try:
        assert "its cell, 'mgu', is not registered: run the program that defines it" in refusal("sample")
    finally:
        CELLS["mgu"] = cell


@pytest.mark.usefixtures("home", "bare")
def test_optional_attributes_can_be_omitted():
    """The page shows the units even if the cell declares no gates."""
    minichar(f"train --model bare {SMALL} --max-epochs 1 --checkpoint-dir cv-bare")
    minichar("inspect cv-bare --text data/pydocs --html bare.html")
    page = Path("bare.html").read_text(encoding="utf-8")
    assert re.findall(r'"layer":(\d),"name":"(\w)","low":(-?\d)', page) == [
        ("1", "h", "-1"),
        ("2", "h", "-1"),
    ]
