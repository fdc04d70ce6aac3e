"""Documentation figures, one script per figure. Most plots show data computed with the engine."""

from importlib import import_module
from pathlib import Path

SCRIPTS = (
    "data_flow",
    "counting",
    "one_weight",
    "v_shape",
    "tiny_steps",
    "nonlinearities",
    "softmax",
    "outer_product",
    "cells",
    "cells_backward",
    "unrolled",
    "chunk_kernel",
    "through_time",
    "truncation",
    "factors",
    "vanishing",
    "bracket",
    "scale",
    "dropout_mask",
    "sampled_input",
    "ravine",
    "temperature",
    "losses",
    "overfitting",
    "plan",
    "scaling",
    "bench",
    "quality",
)
FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parents[1] / "minichar"


def draw_all() -> None:
    """Run every script."""
    for name in SCRIPTS:
        import_module(f"figures.{name}").main()


def draw_if_stale() -> None:
    """Run every script if any figure is older than the code or data that it shows, or if no figures exist."""
    sources = [*FOLDER.glob("*.py"), *(PACKAGE / "engine").glob("*.py"), PACKAGE / "training" / "choose.py"]
    sources += (FOLDER.parent / "measured").rglob("*.csv")
    sources += (PACKAGE.parent / "tests" / "lessons").glob("test_18_*.py")  # one figure shows its losses
    drawn = [path.stat().st_mtime for path in FOLDER.glob("*.svg")]
    if not drawn or min(drawn) < max(path.stat().st_mtime for path in sources):
        draw_all()
