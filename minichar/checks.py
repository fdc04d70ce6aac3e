"""Declare options as the fields of a dataclass, and check the values against the rules in the annotations.

    @dataclass(frozen=True)
    class Example:
        size: Annotated[int, at_least(1)] = 128
        rate: Annotated[float, OR_AUTO] = option("Training", AUTO, "Step size.", "RATE")

        def __post_init__(self) -> None:
            check(self)

Error messages name the field with an `Option`, which is printed as ``size`` in Python and ``--size`` on the
command line. For example: ``--size is 0; it must be at least 1``.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, partial
from inspect import Parameter, formatannotation, getdoc, signature
from math import inf, isfinite
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from minichar.duration import A_TIME, duration_in
from minichar.errors import AUTOMATIC, MinicharError, Option, brief, nearest, plain


@dataclass(frozen=True)
class Rule:
    """A condition on a value, `words` that complete "it must be …" in error messages, and a suggested fix.

    `names` are the valid values if there is a list of them, and `limits` those of a range, as in JSON Schema.
    A value with a `unit` is a time, which can be a string such as ``90s``.
    """

    holds: Callable[[Any], bool]
    words: Callable[[], str]
    advice: tuple[str | Option, ...] = ()
    names: Collection[str] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""


@dataclass(frozen=True)
class Shown:
    """How an option is presented: in ``--help`` under `heading`, and in the docstring of its class.

    `help` spells other options as on the command line. `shown` describes a default that is not a value.
    ``--help`` lists only `common` options. An `escaped` value is typed with escape sequences.
    """

    heading: str
    help: str
    metavar: str | None = None
    shown: str = ""
    common: bool = False
    escaped: bool = False


def option(heading: str, default: Any, help: str, metavar: str | None = None, **others: Any) -> Any:
    """Return a dataclass field that is an option. For the other parameters, see `Shown`."""
    return field(default=default, metadata={"shown": Shown(heading, help, metavar, **others)})


def rule(holds: Callable[[Any], bool], words: str) -> Rule:
    """Return a rule that requires ``holds(value)`` to be true and is described by `words`."""
    return Rule(holds, lambda: words)


COMPARISONS = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
"""What each limit in JSON Schema requires of a value."""


def within(words: str, **limits: float) -> Rule:
    """Return the rule that a number is within `limits`, described by `words`."""
    checks = [(COMPARISONS[name], limit) for name, limit in limits.items()]
    return Rule(
        lambda value: all(holds(value, limit) for holds, limit in checks), lambda: words, limits=limits
    )


def at_least(low: int) -> Rule:
    """Return the rule ``value ≥ low``."""
    return within(f"at least {low}", minimum=low)


def time_in(unit: str) -> Rule:
    """Return the rule for a time of at least 0, in seconds (``s``) or minutes (``m``)."""
    return Rule(lambda value: 0 <= value < inf, lambda: "at least 0 and finite", unit=unit)


def between(low: float, high: float) -> Rule:
    """Return the rule ``low ≤ value ≤ high``."""
    return within(f"from {low:.15g} to {high:.15g}", minimum=low, maximum=high)


AUTO: Any = None
"""The value of a field that minichar chooses later. Other code may rely on the declared type."""
OR_AUTO = rule(lambda value: True, "chosen by minichar")
"""Allows a field to be `AUTO`."""


def one_of(names: Collection[str]) -> Rule:
    """Return the rule ``value in names``. `names` may change later."""
    return Rule(lambda value: value in names, lambda: f"one of {', '.join(names)}", names=names)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a "did you mean" hint for an error message, or an empty string if no known name is similar."""
    return next((f"; did you mean {similar!r}?" for similar in nearest(name, known)), "")


ABOVE_0 = within("above 0", exclusiveMinimum=0)
BELOW_1 = within("at least 0 and below 1", minimum=0, exclusiveMaximum=1)
UP_TO_1 = within("above 0 and at most 1", exclusiveMinimum=0, maximum=1)

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""Start of a URL, from which `pathlib` would remove a slash."""
NOT_IN_NAMES = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""NUL, and all surrogates except those that represent invalid UTF-8 bytes (PEP 383)."""
FILE_NAME = rule(
    lambda value: not NOT_IN_NAMES.search(str(value)),
    "text without characters that are invalid in file names",
)


def check(instance: object, table: Any = None) -> None:
    """Check every field of a dataclass, or of its base class `table`, and convert each to its declared type.

    NumPy integers become ints, ints become floats in float fields, and strings become `Path` objects in path
    fields. A value that is invalid or has the wrong type raises a `MinicharError`.
    """
    cls: Any = table or type(instance)
    for name, each in declared(cls).items():
        object.__setattr__(instance, name, checked(name, getattr(instance, name), each.kind, *each.rules))


def checked(name: str, value: object, kind: Any, *rules: Rule) -> Any:
    """Return `value`, converted to the declared type of the option `name`, or raise a `MinicharError`."""
    if value is None and OR_AUTO in rules:
        return None
    or_auto = (", or ", AUTOMATIC) if OR_AUTO in rules else ()
    convert, words = KINDS[kind]
    if isinstance(value, str) and (unit := next((rule.unit for rule in rules if rule.unit), "")):
        convert, words = partial(duration_in, unit), A_TIME
    try:
        converted = convert(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong(name, value, words, *or_auto) from None
    for each in converted if isinstance(converted, tuple) else (converted,):
        for broken in (rule for rule in rules if not rule.holds(each)):
            whole = isinstance(each, float) and each.is_integer() and abs(each) < 1e15
            raise wrong(name, int(each) if whole else each, broken.words(), *or_auto, *broken.advice)
    return converted


def wrong(name: str, value: object, words: str, *advice: str | Option) -> MinicharError:
    """Return the error for an invalid value of the option `name`."""
    shown = plain(str(value)) if isinstance(value, Path) else brief(value)
    return MinicharError(Option(name), f" is {shown}; it must be {words}", *advice)


class Field(NamedTuple):
    """A field of a dataclass: its type, the rules for its values, and how it is presented as an option."""

    kind: Any
    rules: tuple[Rule, ...]
    default: Any
    shown: Shown | None

    @property
    def names(self) -> Collection[str]:
        """The valid values, if there is a list of them."""
        return next((rule.names for rule in self.rules if rule.names), ())

    @property
    def annotation(self) -> Any:
        """The type of the values that the caller may pass."""
        return self.kind | None if OR_AUTO in self.rules else self.kind

    @property
    def help(self) -> str:
        """The help text, with options spelled as in Python."""
        return FLAG.sub(in_python, self.shown.help) if self.shown else ""


@cache  # evaluating the annotations takes milliseconds
def declared(cls: type) -> dict[str, Field]:
    """Return the fields of a dataclass."""
    found, hints = {}, get_type_hints(cls, include_extras=True)
    for each in fields(cls):
        hint = hints[each.name]
        kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        found[each.name] = Field(kind, tuple(rules), each.default, each.metadata.get("shown"))
    return found


def documented(cls: Any) -> Any:
    """Decorate a dataclass to list its options in its signature, and to describe them in its docstring."""
    cls.__doc__ = f"{getdoc(cls)}\n\nAttributes\n----------\n{{options}}"
    return taking(cls)(cls)


def taking(table: type) -> Callable[[Any], Any]:
    """Return a decorator for a callable whose ``**options`` are the options in a dataclass, `table`.

    The callable's signature then lists them, and their descriptions replace ``{options}`` in its docstring.
    """
    options, lines = [], []
    for name, each in declared(table).items():
        kind = each.annotation
        options.append(Parameter(name, Parameter.KEYWORD_ONLY, default=each.default, annotation=kind))
        lines += [f"{name} : {formatannotation(kind)}", f"    {each.help}"]

    def decorate(function: Any) -> Any:
        full = signature(function)
        own = [] if function is table else [*full.parameters.values()][:-1]
        others = [option for option in options if option.name not in {parameter.name for parameter in own}]
        function.__signature__ = full.replace(parameters=[*own, *others])
        function.__doc__ = (getdoc(function) or "").replace("{options}", "\n".join(lines))
        return function

    return decorate


FLAG = re.compile(r"--(no-)?([a-z][a-z-]+)|auto(?=: )|\\\w")
"""What a help text spells as on the command line: an option, ``auto`` or an escape sequence."""


def in_python(found: re.Match[str]) -> str:
    """Return the Python spelling of a match of `FLAG`."""
    if not found[2]:
        return "None" if found[0] == "auto" else f"``{found[0]}``"
    return f"`{found[2].replace('-', '_')}{'=False' if found[1] else ''}`"


def _exactly(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return convert


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def _texts(value: Any) -> list[str]:
    return [_exactly(str)(item) for item in _exactly(list)(value)]


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(map(_exactly(str), [value] if isinstance(value, str) else value))


def _path(value: Any) -> Path:
    if isinstance(value, str) and (not value or URL.match(value)):
        raise TypeError
    return Path(value)


def _paths(value: Any) -> tuple[Path, ...]:
    if isinstance(value, list | tuple):
        return tuple(map(_path, value))
    return () if value is None else (_path(value),)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise TypeError
    return float(value)


KINDS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    int: (_integer, "an integer"),
    float: (_number, "a finite number"),
    bool: (_boolean, "True or False"),
    str: (_exactly(str), "text"),
    list[str]: (_texts, "a list of text"),
    tuple[str, ...]: (_strings, "a list of strings"),
    dict[str, Any]: (_exactly(dict), "a dict"),
    Path: (_path, "a local path"),
    tuple[Path, ...]: (_paths, "a local path or a list of them"),
    Path | None: (lambda value: None if value is None else _path(value), "a local path"),
}
"""Map from each declared type to its conversion function and its description in error messages."""
