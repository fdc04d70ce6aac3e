"""Import optional packages when they are used, with a one-line error if they are missing."""

from importlib import import_module
from typing import Any

from minichar.errors import MinicharError


def need(module: str, extra: str, what: str = "this format") -> Any:
    """Import and return a module of an optional package.

    Parameters
    ----------
    module : str
    extra : str
        The extra of minichar that installs it.
    what : str
        What needs it, the subject of the error message.

    Raises
    ------
    MinicharError
        If the import fails, with the command that installs the package.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MinicharError(
            f"{what} needs a package that cannot be imported ({first_line(error)}): "
            f"pip install 'minichar[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error message; some packages write many lines."""
    return str(error).partition("\n")[0]
