"""Documentation figures. Most plots show data computed with the engine."""

from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parents[1] / "minichar"


def draw_all() -> None:
    """Draw every figure."""
    from .draw import DRAWINGS

    for path in sorted(FOLDER.glob("[a-z]*.py")):
        import_module(f"figures.{path.stem}")
    for draw in DRAWINGS.values():
        draw()


def draw_if_stale() -> None:
    """Draw every figure if any is older than the code or data that it shows, or if no figures exist."""
    sources = [*FOLDER.glob("*.py"), *(PACKAGE / "engine").glob("*.py"), PACKAGE / "training" / "choose.py"]
    sources += (FOLDER.parent / "measured").rglob("*.csv")
    sources += (PACKAGE.parent / "tests" / "lessons").glob("test_1[28]_*.py")  # figures plot their numbers
    drawn = [path.stat().st_mtime for path in FOLDER.glob("*.svg")]
    if not drawn or min(drawn) < max(path.stat().st_mtime for path in sources):
        draw_all()
