"""Check the imports between packages against a table. To allow a new import, add it to the table."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "minichar"
FILES = sorted(PACKAGE.rglob("*.py"))

ROOTS = {"checks", "duration", "errors", "extras", "files", "terminal"}
MODEL = {"model", "engine", "text", "devices", "history"}
MAY_IMPORT = {
    "checks": {"duration", "errors"},
    "duration": set(),
    "errors": set(),
    "extras": {"errors"},
    "files": {"errors"},
    "terminal": {"errors"},
    "devices": set(),
    "engine": {"devices"},
    "text": set(),
    "history": set(),
    "model": {"engine", "text", "devices", "history"},
    "checkpoints": MODEL,
    "sampling": MODEL,
    "training": {"checkpoints", *MODEL},
    "formats": {"checkpoints", "sampling", *MODEL},
    "pictures": {"formats", "checkpoints", "sampling", *MODEL},
    "sweep": {"training", "checkpoints", *MODEL},
    "web": {"formats", "checkpoints", "sampling", *MODEL},
    "cli": {"web", "sweep", "pictures", "formats", "training", "sampling", "checkpoints", *MODEL},
    "api": {"formats", "training", "sampling", "checkpoints", *MODEL},
    "llm": {"checkpoints", "sampling", "api"},
    "__init__": {"api"},
    "__main__": {"cli"},
}
"""Packages that each package may import besides itself and the root modules."""
OTHERS = {
    "api": {"IPython"},
    "cli": {"click", "mpi4py", "threadpoolctl"},
    "devices": {"cupy", "dpnp"},
    "llm": {"llm", "pydantic"},
    "web": {"starlette", "uvicorn", "h11", "jsonschema", "prometheus_client", "threadpoolctl", "redis"},
}
"""Third-party packages that each package may import besides NumPy."""


def place(path):
    """Return the dotted name of a module in minichar: ``engine.lstm``, ``model``, ``__init__``."""
    *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and name == "__init__" else [*folders, name])


def part(path):
    return place(path).split(".")[0]


@cache
def nodes(path):
    """Return all nodes of the syntax tree of a file, its root first."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    """Yield the full name of every module that a file imports, including inside functions."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from minichar import files` imports the module minichar.files.
            yield from (
                f"{node.module}.{alias.name}" if node.module == "minichar" else node.module
                for alias in node.names
            )


def test_table_contains_every_package():
    assert {part(path) for path in FILES} == MAY_IMPORT.keys()


def test_packages_import_only_allowed_packages():
    arrows = {
        (part(path), name.split(".")[1])
        for path in FILES
        for name in imports(path)
        if name.startswith("minichar.")
    }
    allowed = {
        (here, there)
        for here, others in MAY_IMPORT.items()
        for there in {here, *others, *(set() if here in ROOTS else ROOTS)}
    }
    assert arrows <= allowed, arrows - allowed


def test_table_has_no_cycles():
    TopologicalSorter(MAY_IMPORT).prepare()


def test_third_party_packages():
    """Modules may import only the standard library, NumPy and the packages in the table."""
    for path in FILES:
        found = {name.split(".")[0] for name in imports(path)}
        allowed = {"minichar", "numpy", *OTHERS.get(part(path), ()), *sys.stdlib_module_names}
        assert found <= allowed, (place(path), found - allowed)


def test_only_devices_distinguishes_devices():
    for path in FILES:
        if part(path) == "devices":
            continue
        for node in nodes(path):
            if isinstance(node, ast.Compare):
                words = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                assert not words & {"cpu", "gpu", "opencl"}, f"{place(path)}, line {node.lineno}"
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "value", None)
            # Docstrings may mention CuPy and dpnp.
            assert name not in ("cupy", "dpnp"), f"{place(path)}, line {node.lineno}"


def test_engine_files_are_short():
    for path in (PACKAGE / "engine").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, place(path)


def test_command_line_does_not_import_numpy():
    """Importing NumPy takes longer than all other imports combined."""
    code = "import sys, minichar.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
