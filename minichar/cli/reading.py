"""Read a short text from a file or from standard input."""

import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import click

from minichar.errors import MinicharError

MAX_BYTES = 10_000_000
"""Maximum size of the text. Reading that many characters takes even the smallest network minutes."""


def read_text(path: Path, option: str, what: str, otherwise: str = "") -> str:
    """Return the contents of a UTF-8 file, or of standard input if `path` is ``-``.

    In messages, `what` is the name of the text, `option` specifies the file, and `otherwise` is an
    alternative.
    """
    if str(path) == "-" and sys.stdin.isatty():
        click.echo(f"reading the {what} from standard input; press Ctrl-D to finish", err=True)
    try:
        with click.open_file(str(path), "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise MinicharError(
                f"{option} {str(path)!r} is larger than {MAX_BYTES:,} bytes: choose a shorter text"
            )
        return TextIOWrapper(BytesIO(raw), "utf-8-sig").read()
    except FileNotFoundError as error:
        raise MinicharError(
            f"{option} {str(path)!r} does not exist: choose a text file{otherwise}"
        ) from error
    except OSError as error:
        raise MinicharError(f"cannot read {option} {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MinicharError(
            f"{option} {str(path)!r} is not UTF-8: invalid byte at offset {error.start}; convert it to UTF-8"
        ) from error
