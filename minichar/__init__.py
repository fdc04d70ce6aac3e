"""minichar: character-level language models in plain NumPy, every derivative by hand.

>>> import minichar
>>> model = minichar.train("data/pydocs", max_epochs=1)         # doctest: +SKIP
>>> print("".join(minichar.generate(model, length=200)))        # doctest: +SKIP

The names below are the whole public interface; `minichar.engine` is there to be read.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minichar.api import (
        CharRNN,
        Choice,
        MinicharError,
        Settings,
        Vocabulary,
        generate,
        generate_many,
        load,
        save,
        train,
    )

__all__ = [
    "CharRNN",
    "Choice",
    "MinicharError",
    "Settings",
    "Vocabulary",
    "generate",
    "generate_many",
    "load",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    """Return a public name; until one is used NumPy is not imported, and ``minichar --help`` is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'minichar' has no attribute {name!r}")
    return getattr(import_module("minichar.api"), name)
