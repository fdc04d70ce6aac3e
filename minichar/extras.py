"""The packages of the extras: imported where they are used, missed in one line."""

from importlib import import_module
from typing import Any

from minichar.errors import MinicharError


def need(module: str, extra: str, what: str = "this format") -> Any:
    """Return a module of an optional package.

    Parameters
    ----------
    module : str
    extra : str
        minichar's extra that brings it.
    what : str
        What needs it, as the beginning of a sentence.

    Raises
    ------
    MinicharError
        If it cannot be imported, with the command that mends it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MinicharError(
            f"{what} needs a package that cannot be imported ({first_line(error)}): "
            f"pip install 'minichar[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of what a package says of an error; some say a page."""
    return str(error).partition("\n")[0]
