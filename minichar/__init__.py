"""minichar: character-level language models in plain NumPy, with hand-written backward passes.

>>> import minichar
>>> model = minichar.train("data/pydocs", max_epochs=1)         # doctest: +SKIP
>>> print(model.generate("The ", length=200))                   # doctest: +SKIP

The public interface consists of the names in ``dir(minichar)``. Subpackages such as `minichar.engine` are
internal, and their interfaces may change between versions.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
"""True only for type checkers. Importing `typing` for this constant would dominate the start-up time."""
if TYPE_CHECKING:
    from typing import Any

    from minichar.api import *

    __version__: str

__all__ = [
    "CharRNN",
    "Evaluation",
    "MinicharError",
    "Model",
    "RMSprop",
    "Settings",
    "Vocabulary",
    "generate_many",
    "load",
    "load_corpus",
    "ngram_loss",
    "save",
    "split_text",
    "train",
]


def __getattr__(name: str) -> Any:
    """Return a public object. NumPy is imported on first use, which keeps ``minichar --help`` fast."""
    if name == "__version__":
        return import_module("importlib.metadata").version("minichar")
    if name not in __all__:
        raise AttributeError(f"module 'minichar' has no attribute {name!r}")
    return getattr(import_module("minichar.api"), name)


def __dir__() -> list[str]:
    """Return the public names, for tab completion."""
    return [*__all__, "__version__"]
