"""Build the sdist and the wheel, and run minichar from the wheel in environments that do not have it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner
from optional import missing
from toys import ONE_THREAD

from minichar.cli import COMMANDS, main
from minichar.cli.course import find_lessons
from minichar.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[1]
MAX_WHEEL = 600_000
TOY = ["--rnn-size", "4", "--batch-size", "2", "--seq-length", "8", "--max-epochs", "1"]


def build(target, source, folder):
    """Build a distribution from a source directory, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return next(folder.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[target]))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    if find_spec("hatchling") is None:
        missing("hatchling")
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def test_two_sdists_are_equal(sdist, unpacked, tmp_path):
    """Build the second one from the first, and give its files other times and permissions."""
    for path in filter(Path.is_file, unpacked.rglob("*")):
        os.utime(path, (1e9, 1e9))
        path.chmod(path.stat().st_mode & 0o700)
    assert build("sdist", unpacked, tmp_path).read_bytes() == sdist.read_bytes()


def test_the_sdist_contains_sources_tests_and_docs_but_nothing_generated(unpacked):
    for folder in ("minichar", "tests", "docs"):
        sources = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")}
        packed = {path.relative_to(unpacked) for path in (unpacked / folder).rglob("*.py")}
        assert packed == sources
    assert not list(unpacked.glob("docs/api")) + list(unpacked.rglob("*.pyc")) + list(unpacked.rglob("*.npz"))


def test_the_wheel_is_small_and_contains_no_tests_but_the_lessons(wheel):
    assert wheel.stat().st_size <= MAX_WHEEL
    names = ZipFile(wheel).namelist()
    others = [name for name in names if not name.startswith(("minichar/", "minichar-0"))]
    assert others == []
    data = [name.rpartition("/share/minichar/") for name in names if ".data/" in name]
    assert [name for *_, name in data] == [f"lessons/{lesson.path.name}" for lesson in find_lessons()]
    packed = {name for name in names if name.startswith("minichar/")}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minichar").rglob("*") if path.is_file()}
    assert packed == {name for name in sources if not name.endswith(".pyc")}


def test_every_command_has_a_man_page_with_all_of_its_options(unpacked):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (unpacked / "man").iterdir()}
    assert pages.keys() == {"minichar", *(f"minichar-{name}" for name in COMMANDS)}
    for name in COMMANDS:
        page = pages[f"minichar-{name}"]
        assert page.isascii()
        page = page.replace(r"\-", "-")
        everything = "--help-all" if name in ("train", "sweep") else "--help"
        shown = CliRunner().invoke(main, [name, everything]).output
        assert {*re.findall(r"^ +(--[a-z-]+)", shown, re.M)} <= {*re.findall(r"--[a-z-]+", page)}, name
        assert f".SH NAME\nminichar-{name} - {COMMANDS[name].removesuffix('.')}\n" in page


def test_roff_accepts_the_man_pages(unpacked):
    groff = shutil.which("groff") or pytest.skip("groff is not installed")
    for path in (unpacked / "man").iterdir():
        done = subprocess.run(
            [groff, "-man", "-ww", "-Tutf8", path], capture_output=True, encoding="utf-8", check=True
        )
        assert done.stderr == ""
        lines = [line.strip() for line in re.sub(r"\x1b\[\d+m|.\x08", "", done.stdout).splitlines()]
        assert lines[0].startswith(path.stem.upper())
        assert set(EXAMPLES.get(path.stem.removeprefix("minichar-"), ())) <= set(lines)


WAYS = ("uvx --from", "pipx run --spec")


@pytest.mark.skipif("CI" not in os.environ, reason="downloads NumPy and Click: set CI=true")
@pytest.mark.parametrize(("way", "source"), [(WAYS[0], "unpacked"), (WAYS[1], "wheel")])
def test_it_runs_without_being_installed(way, source, tmp_path, request):
    """Install the wheel or the source directory instead of the repository."""
    program, *words = way.split()
    program = shutil.which(program, path=Path(sys.executable).parent) or missing(program)
    given = str(request.getfixturevalue(source))
    environment = {name: value for name, value in ONE_THREAD.items() if not name.startswith("PYTHON")}
    environment |= {
        "HOME": str(tmp_path),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_SYSTEM_CERTS": "1",  # like pip
    }
    (tmp_path / "my.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    for command in (
        ["train", "--data", "my.txt", "--checkpoint-dir", "cv-mine", *TOY],
        ["sample", "cv-mine", "--length", "20"],
    ):
        done = subprocess.run(
            [program, *words, given, "minichar", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
    assert 0 < len(done.stdout) <= 21


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/start.md", "docs/zh/start.md"])
def test_the_docs_show_how_to_run_it_without_installing_it(page):
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    for way in WAYS:
        assert f"{way} git+https://github.com/minichar/minichar minichar train" in text
