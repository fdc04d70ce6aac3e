"""Import optional packages on first use, with a one-line error if a package is missing."""

from importlib import import_module
from typing import Any

from minichar.errors import MinicharError


def need(module: str, extra: str, what: str) -> Any:
    """Import and return a module from an optional package.

    Parameters
    ----------
    module : str
    extra : str
        Name of the extra that installs the package.
    what : str
        Feature that needs the package, used as the subject of the error message.

    Raises
    ------
    MinicharError
        If the import fails. The message contains the command that installs the package.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MinicharError(
            f"{what} needs a package that cannot be imported ({first_line(error)}): "
            f"pip install 'minichar[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error message, since some packages use many lines."""
    return str(error).partition("\n")[0]
