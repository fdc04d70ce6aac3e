"""Exceptions for user-fixable errors, and helpers that format their messages.

This module is not in a package, because every package raises these errors.
"""

import re
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

LONGEST = 100
"""Maximum length of a value in an error message, in characters."""
CLOSE = 0.75
"""Minimum similarity of a suggested name, as measured by `difflib`."""
LONGEST_PATH = 1000
"""Maximum length of a path from a file in a message, in characters. Shorter paths are not truncated."""
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters except newlines and tabs, Unicode line separators, and bidirectional formatting."""


@dataclass(frozen=True)
class Option:
    """An option in an error message: ``rnn_size=64`` in Python and ``--rnn-size 64`` on the command line."""

    name: str
    value: object = None

    def __str__(self) -> str:
        """Return the option as spelled in Python: ``rnn_size`` or ``rnn_size=64``."""
        return self.name if self.value is None else f"{self.name}={brief(self.value)}"

    @property
    def flag(self) -> str:
        """The command-line spelling: ``--rnn-size``, ``--rnn-size 64``, ``--use-ss`` or ``--no-use-ss``."""
        flag = f"--{'no-' if self.value is False else ''}{self.name.replace('_', '-')}"
        return flag if self.value is None or isinstance(self.value, bool) else f"{flag} {plain(self.value)}"


class Automatic(Option):
    """The value that lets minichar choose: ``None`` in Python, ``auto`` on the command line."""

    flag = "auto"


AUTOMATIC = Automatic("None")


class MinicharError(Exception):
    """Exception with a one-line message that states what is wrong, where, and how to fix it.

    The command line prints the message and exits with status 1; the Python API raises the exception.
    Bugs in minichar itself cause other exceptions, which are reported with a traceback.

    Parameters
    ----------
    *parts : str or Option
        Parts of the message. In ``str(error)``, options are written as in Python: ``rnn_size=64``.
    """

    def __init__(self, *parts: str | Option) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return one_line("".join(map(str, self.args)))

    @property
    def with_flags(self) -> str:
        """The message with options spelled as on the command line."""
        return one_line("".join(part.flag if isinstance(part, Option) else part for part in self.args))


class Completed(MinicharError):
    """Raised if a run cannot be resumed because it reached its last step or was stopped by `patience`."""


def out_of_memory(error: MemoryError) -> str:
    """Return the message for a failed memory allocation, with details if the error has any."""
    return f"out of memory ({error})" if str(error) else "out of memory"


def counted(n: int, noun: str) -> str:
    """Return a number followed by a noun, such as ``1 character`` or ``2,000 characters``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def listed(first: Sequence[str], n: int) -> str:
    """Return the first of n words, followed by the number of remaining words: ``a, b and 3 more``."""
    more = n - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")


def visible(text: str) -> str:
    r"""Return text with control characters other than newlines and tabs escaped, as in ``\x1b``."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return text with newlines and other control characters escaped."""
    return visible(text).replace("\n", "\\n")


def plain(value: object, longest: int = LONGEST) -> str:
    """Return a value as one line of text, truncated to `longest` characters.

    Empty strings and strings with control characters are quoted. Whole numbers are shown without decimals.
    """
    text = str(value)
    if isinstance(value, str) and not (text and text.isprintable()):
        text = repr(value)
    return _truncated(text.removesuffix(".0") if isinstance(value, float) else text, longest)


def brief(value: object, longest: int = LONGEST) -> str:
    """Return the repr of an untrusted value on one line, truncated to `longest` characters."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxlong = shortener.maxother = longest
    return _truncated(shortener.repr(value).replace("\n", " "), longest)


def _truncated(text: str, longest: int) -> str:
    """Return text with its middle replaced by ``...`` if it has more than `longest` characters."""
    if len(text) <= longest:
        return text
    start = (longest - 3) // 2
    return f"{text[:start]}...{text[start + 3 - longest :]}"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the names in `known` that are anagrams of `name` or, if there are none, similar ones."""
    names = list(known)
    anagrams = [each for each in names if sorted(each) == sorted(name)]
    return anagrams or get_close_matches(name, names, cutoff=CLOSE)


def undashed(path: object) -> str:
    """Return a path that no command mistakes for an option: ``./-x`` for ``-x``."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def quoted(path: object) -> str:
    """Return a path as a word of a command, quoted for a shell."""
    return quote(undashed(path))


class Refused(Exception):
    """Raised when a file is rejected. The message states only the reason; `reading` adds the file's path."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Convert `OSError` and `Refused` to a `MinicharError` that names the file and what it should be."""
    try:
        yield
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise MinicharError(f"{path} is not {what} that minichar can read: {error}") from error
