"""The architecture, frozen: who may import whom. A new arrow is a decision, made here first."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "minichar"
FILES = sorted(PACKAGE.rglob("*.py"))

LEAVES = {"errors", "files"}
MODEL = {"engine", "text", "backend", "model", *LEAVES}
MAY_IMPORT = {
    "errors": set(),
    "files": {"errors"},
    "uniform": set(),
    "cuda_graph": set(),
    "blas": set(),
    "deadlock": set(),
    "backend": {"blas", "deadlock", "uniform", "cuda_graph", "errors"},
    "text": {"text", *LEAVES},
    "engine": {"engine", "backend", "uniform", "errors"},
    "model": {"engine", "text", "backend", *LEAVES},
    "choice": {"engine", "errors"},
    "streams": {"choice", *MODEL},
    "sampling": {"choice", "streams", *MODEL},
    "training": {"training", "engine", "text", "backend", "uniform", "model", *LEAVES},
    "formats": {"formats", "training.checkpoint", "training.archive", *MODEL},
    "convert": {"formats", "training.checkpoint", "training.archive", *MODEL},
    "doctor": {"backend", "errors"},
    "lessons": {"errors"},
    "pictures": {"pictures", "formats.packages", "training.archive", *MODEL},
    "bench": {"bench", "blas", "training", "sampling", "choice", *MODEL},
    "web": {"web", "convert", "training.naming", "sampling", "streams", "choice", *MODEL},
    "cli": {
        "cli",
        "bench",
        "convert",
        "formats.packages",
        "doctor",
        "lessons",
        "pictures",
        "training",
        "sampling",
        "choice",
        *MODEL,
    },
    "api": {"convert", "training", "sampling", "choice", "model", "text", *LEAVES},
    "__init__": {"api"},
    "__main__": {"cli"},
}
"""For each part of the package, the parts it may import."""
OTHERS = {
    "cli": {"click"},
    "backend": {"cupy", "dpnp"},
    "web": {
        "flask",
        "werkzeug",
        "cheroot",
        "jsonschema",
        "prometheus_client",
        "threadpoolctl",
        "redis",
        "dramatiq",
    },
}
"""For some of them, other people's packages that they may import."""


def place(path):
    """The dotted name of a file inside the package: ``engine.lstm``, ``model``, ``__init__``."""
    *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and name == "__init__" else [*folders, name])


def part(path):
    return place(path).split(".")[0]


def imports(path):
    """Every module that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if (PACKAGE.parent / f"{name.replace('.', '/')}.py").exists()}
            found |= modules or {node.module}  # `from minichar.training import checkpoint` means the file
    return found


def inside(path):
    """What a file imports of minichar, without the first word."""
    return {name.removeprefix("minichar").removeprefix(".") for name in imports(path) if is_ours(name)}


def is_ours(name):
    return name.split(".")[0] == "minichar"


def allowed(name, allowance):
    return any(name == there or name.startswith(f"{there}.") for there in allowance)


def ids(path):
    return place(path)


def test_every_part_has_its_line_in_the_table():
    assert {part(path) for path in FILES} == MAY_IMPORT.keys()


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_imports_point_one_way(path):
    assert not {name for name in inside(path) if not allowed(name, MAY_IMPORT[part(path)])}


def test_nothing_imports_the_command_line():
    importers = {part(path) for path in FILES if any(allowed(name, {"cli"}) for name in inside(path))}
    assert importers == {"cli", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_other_packages(path):
    """NumPy everywhere, and beside it and the standard library only what the table says."""
    found = {name.split(".")[0] for name in imports(path) if not is_ours(name)}
    others = {"numpy"} | OTHERS.get(part(path), set())
    assert found <= others | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_only_the_backend_names_a_device_library(path):
    if part(path) == "backend":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "value", None)
        if isinstance(name, str) and "\n" not in name:  # docstrings may speak of them
            assert name not in ("cupy", "dpnp"), f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_file_can_be_read_in_one_sitting(path):
    limit = 200 if part(path) == "engine" else 300
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


def test_version_and_help_do_without_numpy():
    """Which takes longer to import than all else together."""
    code = "import sys, minichar.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_file_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), place(path)
