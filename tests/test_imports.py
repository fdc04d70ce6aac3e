"""The architecture, frozen: which package may import which. A new arrow is a decision, made here first."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "minichar"
FILES = sorted(PACKAGE.rglob("*.py"))

ROOTS = {"checks", "errors", "extras", "files"}
MODEL = {"model", "engine", "text", "devices"}
MAY_IMPORT = {
    "checks": set(),
    "errors": set(),
    "extras": set(),
    "files": set(),
    "devices": set(),
    "engine": {"devices"},
    "text": set(),
    "model": {"engine", "text", "devices"},
    "checkpoints": MODEL,
    "sampling": MODEL,
    "training": {"checkpoints", *MODEL},
    "formats": {"checkpoints", *MODEL},
    "pictures": {"checkpoints", *MODEL},
    "bench": {"training", "sampling", *MODEL},
    "web": {"formats", "checkpoints", "sampling", *MODEL},
    "cli": {"bench", "web", "pictures", "formats", "training", "sampling", "checkpoints", *MODEL},
    "api": {"formats", "training", "sampling", "checkpoints", *MODEL},
    "__init__": {"api"},
    "__main__": {"cli"},
}
"""For each package, the packages it may import, besides itself and the root modules."""
OTHERS = {
    "cli": {"click"},
    "devices": {"cupy", "dpnp"},
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
"""For some packages, the third-party packages they may import besides NumPy."""


def place(path):
    """The dotted name of a file inside the package: ``engine.lstm``, ``model``, ``__init__``."""
    *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and name == "__init__" else [*folders, name])


def part(path):
    return place(path).split(".")[0]


def imports(path):
    """The full name of every module a file imports, at any level of the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from minichar import files` means the file.
            yield from (
                f"{node.module}.{alias.name}" if node.module == "minichar" else node.module
                for alias in node.names
            )


def test_every_package_has_a_line_in_the_table():
    assert {part(path) for path in FILES} == MAY_IMPORT.keys()


def test_imports_point_one_way():
    arrows = {
        (part(path), name.split(".")[1])
        for path in FILES
        for name in imports(path)
        if name.startswith("minichar.")
    }
    allowed = {(here, there) for here, others in MAY_IMPORT.items() for there in {here, *others, *ROOTS}}
    assert arrows <= allowed, arrows - allowed


def test_the_table_has_no_cycle():
    """Process the packages bottom-up: add a package once everything it imports has been added."""
    placed = set(ROOTS)
    while placed < MAY_IMPORT.keys():
        ready = {here for here, others in MAY_IMPORT.items() if others <= placed}
        assert ready > placed, MAY_IMPORT.keys() - placed
        placed = ready | placed


def test_third_party_packages():
    """NumPy everywhere, and besides it and the standard library only what the table says."""
    for path in FILES:
        found = {name.split(".")[0] for name in imports(path)}
        allowed = {"minichar", "numpy", *OTHERS.get(part(path), ()), *sys.stdlib_module_names}
        assert found <= allowed, (place(path), found - allowed)


def test_only_devices_names_a_device_library():
    for path in FILES:
        if part(path) == "devices":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "value", None)
            # Docstrings may speak of them.
            assert name not in ("cupy", "dpnp"), f"{place(path)}, line {node.lineno}"


def test_a_file_can_be_read_in_one_sitting():
    for path in FILES:
        limit = 200 if part(path) == "engine" else 300
        assert len(path.read_text(encoding="utf-8").splitlines()) <= limit, place(path)


def test_version_and_help_do_without_numpy():
    """NumPy takes longer to import than everything else together."""
    code = "import sys, minichar.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_file_has_a_docstring():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), place(path)
