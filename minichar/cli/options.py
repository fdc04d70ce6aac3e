"""Sections in ``--help``, and options and arguments shared by multiple commands."""

import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial, reduce
from math import inf
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import CompletionItem
from click.types import OptionHelpExtra

from minichar.checkpoints.choosing import all_checkpoints
from minichar.checks import OR_AUTO, URL, declared, did_you_mean
from minichar.cli.usage import TwoDashes
from minichar.devices.backend import Backend
from minichar.devices.choose import open_devices
from minichar.devices.failure import OPENED, device_errors
from minichar.duration import A_TIME, duration_in
from minichar.errors import AUTOMATIC, MinicharError, Option, out_of_memory, plain, undashed
from minichar.extras import on_interrupt, raise_interrupt
from minichar.text.finding import MODELS

Decorator = Callable[[Any], Any]
SIZES = ("--rnn-size", "--batch-size", "--seq-length", "--num-samples", "--columns")
"""Options that determine how much memory a command needs."""


class LocalPath(click.Path):
    """Path that is neither empty nor a URL; `pathlib` would treat an empty path as the current directory."""

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, **checks)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` as a `Path`, or report a usage error if it is empty, a URL or otherwise invalid."""
        if not os.fspath(value):
            self.fail("the path is empty", param, ctx)
        if URL.match(os.fspath(value)):
            self.fail(f"{plain(value)} is a URL: download the file first, and use its local path", param, ctx)
        return super().convert(value, param, ctx)


class ModelPath(LocalPath):
    """Path to a model. Shell completion suggests models or, if no model matches, files."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the models that start with `incomplete`: files, and directories with their checkpoints."""
        folder = os.path.dirname(incomplete)
        found: list[str] = []
        with suppress(OSError):  # the directory does not exist
            for entry in sorted(os.listdir(os.path.expanduser(folder) or ".")):
                name = os.path.join(folder, entry)
                path = Path(name).expanduser()
                if not name.startswith(incomplete):
                    continue
                if path.is_dir():
                    with suppress(MinicharError):  # no checkpoint
                        found += [name, *(os.path.join(name, best.name) for best in all_checkpoints(path))]
                elif entry.endswith(MODELS):
                    found.append(name)
        return [*map(CompletionItem, found)] or super().shell_complete(ctx, param, incomplete)


PATH = LocalPath()
MODEL = ModelPath()
OUTPUT = LocalPath(dir_okay=False, readable=False)
"""Path to an output file, which must not be an existing directory."""


class GroupedOption(click.Option):
    """Option listed under the heading `group`, if given; a `rare` option is listed only by ``--help-all``."""

    def __init__(self, *args: Any, group: str = "", rare: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group, self.rare = group, rare

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return the notes that follow an option's help text, such as ``[default: 3; at least 1]``."""
        extra = super().get_help_extra(ctx)
        if "default" in extra and isinstance(self.default, float):
            extra["default"] = f"{self.default:g}"
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default  # Click adds parentheses
        if isinstance(self.type, Number) and self.type.words and not isinstance(self.type, Time):
            extra["range"] = self.type.words
        return extra


class DescribedArgument(click.Argument):
    """Argument with a description in ``--help``, for all supported versions of Click."""

    def __init__(self, *args: Any, description: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.description = description


class GroupedCommand(TwoDashes):
    """Command whose ``--help`` has sections, and whose ``--help-all`` also shows rarely used options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with ``--help-all`` before ``--help`` if there are rarely used options."""
        *parameters, help_option = super().get_params(ctx)
        if not any(map(is_rare, parameters)):
            return [*parameters, help_option]
        return [*parameters, HELP_ALL, help_option]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Ctrl-C raises KeyboardInterrupt so that temporary files are deleted.

        If there is not enough memory, the error message names the options that reduce its use, except those
        that are already 1 or, if a run is resumed, fixed. If a GPU was used, it also names the CPU.
        """
        try:
            with on_interrupt(raise_interrupt), device_errors():
                return super().invoke(ctx)
        except MemoryError as error:
            values = {parameter.opts[0]: ctx.params.get(str(parameter.name)) for parameter in self.params}
            flags = [flag for flag in SIZES if values.get(flag, 1) != 1 and not values.get("--resume")]
            ways = [f"reduce {' or '.join(flags)}"] if flags else []
            ways += ["use --device cpu"] if OPENED else []
            advice = f": {', or '.join(ways)}" if ways else ""
            raise MinicharError(out_of_memory(error), advice) from error

    def sections(self, ctx: click.Context, with_rare: bool = True) -> dict[str, list[tuple[str, str]]]:
        """Return the help entries by section, in order: arguments, option groups, ungrouped options."""
        parameters = [each for each in self.get_params(ctx) if with_rare or not is_rare(each)]
        grouped = any(getattr(parameter, "group", "") for parameter in parameters)
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        others = []
        for parameter in parameters:
            if isinstance(parameter, DescribedArgument):
                sections["Arguments"].append((parameter.make_metavar(ctx), parameter.description))
            elif (record := parameter.get_help_record(ctx)) is None:
                continue
            elif heading := getattr(parameter, "group", ""):
                sections.setdefault(heading, []).append(record)
            else:
                others.append(record)
        sections["Other options" if grouped else "Options"] = others
        return {heading: records for heading, records in sections.items() if records}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, with rarely used options only for ``--help-all``."""
        for heading, records in self.sections(ctx, ctx.meta.get(ALL, False)).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def is_rare(parameter: click.Parameter) -> bool:
    """Return whether only ``--help-all`` shows a parameter."""
    return isinstance(parameter, GroupedOption) and parameter.rare


def print_all_help(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    """Print the help with all options, and exit."""
    if given and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


ALL = f"{__name__}.all"
"""Key of the context's `meta` dict that is set by ``--help-all``."""
HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_all_help,
    help="Show this message with all options, and exit.",
)


class Number(click.ParamType):  # type: ignore[type-arg]  # not generic in Click 8.2
    """Number in a range, if any. Help and error messages describe the range in words."""

    name, what = "float", "a number, such as 0.5"
    kind: Any = float

    def __init__(self, low: float = -inf, high: float = inf) -> None:
        self.low, self.high = low, high
        self.words = "" if low == -inf else f"at least {low}" if high == inf else f"from {low} to {high}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` as a number, or report a usage error worded as in `minichar.checks`."""
        try:
            number = self.kind(value)
        except ValueError:
            digits = re.sub("[, ]", "", value)  # such as 2,000
            advice = f": write {digits}" if self.kind is int and digits.isdecimal() else ""
            self.fail(f"{value!r} is not {self.what}{advice}", param, ctx)
        if self.words and not self.low <= number <= self.high:  # also rejects NaN
            name = param.opts[0] if param else "the value"
            raise click.UsageError(f"{name} is {number}; it must be {self.words}", ctx)
        return number


class Integer(Number):
    """Integer in a range, if any."""

    name, kind, what = "integer", int, "an integer"


class Time(Number):
    """Time of at least 0, such as ``90s``. A plain number is in `unit`, ``s`` or ``m``."""

    name, what = "time", A_TIME

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.low, self.words, self.kind = 0, "at least 0", partial(duration_in, unit)


class OrAuto(click.ParamType):  # type: ignore[type-arg]  # not generic in Click 8.2
    """Value of another type, or ``auto``, which becomes None and lets minichar choose."""

    def __init__(self, kind: "click.ParamType[Any]") -> None:
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value converted to the other type, or None for ``auto``."""
        if isinstance(value, str) and value.lower() == "auto":
            return None
        try:
            return self.kind.convert(value, param, ctx)
        except click.BadParameter as error:  # such as "'x' is not a valid integer."
            self.fail(error.message.replace(" is not ", " is neither auto nor ", 1), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the other type's metavar, with ``auto`` as the first choice."""
        metavar = self.kind.get_metavar(param, ctx)
        return metavar and metavar.replace("[", "[auto|", 1)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return ``auto`` and the values of the other type that start with `incomplete`."""
        auto = [CompletionItem("auto")] if "auto".startswith(incomplete.lower()) else []
        return auto + self.kind.shell_complete(ctx, param, incomplete)


class OneOf(click.Choice[str]):
    """Choice among `names`, which may change later, that ignores case and suggests a similar name."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__([], case_sensitive=False)
        self.choices = names  # type: ignore[assignment]  # `click.Choice` would copy them

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Return the valid names on one line."""
        return f"Choose one of {', '.join(self.choices)}."

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return an error message that lists the valid names."""
        message = super().get_invalid_choice_message(value, ctx).removesuffix(".")
        return message + did_you_mean(self.normalize_choice(value, ctx), self.choices)


class Escaped(click.types.StringParamType):
    r"""Text in which ``\n``, ``\t`` and ``\\`` represent a newline, a tab and a backslash."""

    name = "text"
    escapes: ClassVar = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text with its escape sequences replaced, or report a usage error."""
        known = ", ".join(self.escapes)

        def character(found: re.Match[str]) -> str:
            if found[0] not in self.escapes:
                self.fail(f"{plain(found[0])} is not an escape sequence: use one of {known}", param, ctx)
            return self.escapes[found[0]]

        return re.sub(r"(?s)\\.?", character, super().convert(value, param, ctx))

    @classmethod
    def spell(cls, text: str) -> str:
        """Return the text with newlines, tabs and backslashes replaced by escape sequences."""
        spelt = {character: sequence for sequence, character in cls.escapes.items()}
        return "".join(spelt.get(character, character) for character in text)


def open_for_training(
    ctx: click.Context, parameter: click.Parameter, name: str
) -> tuple[Backend, ...] | None:
    """Open the candidate devices, with TF32 if the user specified ``--tf32``."""
    return None if ctx.resilient_parsing else open_devices(name, ctx.params.get("tf32", False))


def announce_waits(*devices: Backend) -> None:
    """Make the devices print a notice to standard error before a long wait."""
    for device in devices:
        device.announce = partial(click.echo, err=True)


def device_option(*name: str, auto: str, **attributes: Any) -> Decorator:
    """Return the ``--device`` option. In its help, `auto` says which device is chosen automatically."""
    names = f"cpu, gpu, gpu:N, opencl or opencl:N. auto: {auto}."
    shown: dict[str, Any] = {"default": "auto", "show_default": True, "metavar": "DEVICE"}
    return click.option("--device", *name, help=names, **shown, **attributes)


device = device_option(auto="the CPU")
"""The ``--device`` option. The command opens the device with `open_backend`."""
devices = device_option(
    "devices", auto="an NVIDIA GPU for large steps, else the CPU", callback=open_for_training
)
"""The ``--device`` option for commands that choose a device. They receive a tuple of open backends."""
gpu_mode = partial(click.option, cls=GroupedOption, rare=True, default=False)
tf32 = gpu_mode(
    "--tf32",
    is_flag=True,
    is_eager=True,  # so that --tf32 is parsed before --device
    help="On an NVIDIA GPU, compute float32 matrix products in TF32. Their operands are rounded to a 10-bit "
    "mantissa, so the losses differ from those on the CPU by more than rounding error. Like --device, this "
    "option is not stored in checkpoints: repeat it with --resume.",
)
"""The ``--tf32`` option."""
chunk_kernel = gpu_mode(
    "--chunk-kernel/--no-chunk-kernel",
    help="On an NVIDIA GPU, run all time steps of a layer in one kernel. This applies to the cells lstm, gru "
    "and rnn with 64, 128 or 256 hidden units (256: compute capability 9.0) in float32, without layer "
    "normalisation, scheduled sampling or state resets within the text. The kernel has been executed only on "
    "the CPU and never timed. This option is not stored in checkpoints, either.",
)
"""The ``--chunk-kernel`` option."""


def argument(name: str, description: str, **attributes: Any) -> Decorator:
    """Return a decorator like `click.argument` that adds a description to ``--help``."""
    return click.argument(name, cls=DescribedArgument, description=description, **attributes)


checkpoint = argument(
    "checkpoint",
    "A checkpoint or a directory. For a directory, the best checkpoint on the latest training text is used.  "
    "[default: cv]",
    required=False,
    type=MODEL,
)
checkpoints = argument(
    "checkpoints",
    "Checkpoints or directories. From a directory, the best checkpoint of each run is loaded.  "
    "[default: the best one in cv]",
    nargs=-1,
    metavar="[CHECKPOINT]...",
    type=MODEL,
)


def group(heading: str) -> Callable[..., Decorator]:
    """Return a decorator like `click.option` that lists the option under `heading` and shows its default."""
    return partial(click.option, cls=GroupedOption, group=heading, show_default=True)


TYPES: dict[Any, Any] = {int: Integer(), float: Number(), Path: PATH, Path | None: PATH}


def options_in(table: type, special: Mapping[str, dict[str, Any]]) -> Decorator:
    """Return a decorator that adds the options in a dataclass, whose values become keyword arguments.

    `special` contains the attributes of options that cannot be derived from the fields, by name.
    """
    options = []
    for name, field in declared(table).items():
        if shown := field.shown:
            kind = OneOf(field.names) if field.names else TYPES.get(field.kind)
            kind = next((Time(rule.unit) for rule in field.rules if rule.unit), kind)
            yes, no = Option(name).flag, Option(name, False).flag
            attributes: dict[str, Any] = {
                "param_decls": [f"{yes}/{no}" if field.kind is bool else yes, name],
                "type": Escaped() if shown.escaped else kind,
                "default": field.default,
                "multiple": field.kind == tuple[str, ...],
                "help": shown.help + f"  [default: {shown.shown}]" * bool(shown.shown),
                "show_default": not shown.shown,
                "metavar": shown.metavar,
                "rare": not shown.common,
            }
            if OR_AUTO in field.rules:
                attributes |= {"show_default": AUTOMATIC.flag, "type": kind and OrAuto(kind)}
            attributes |= special.get(name, {})
            options.append(group(shown.heading)(*attributes.pop("param_decls"), **attributes))
    return lambda command: reduce(lambda function, option: option(function), reversed(options), command)


def print_path(path: Path | str) -> None:
    """Print a path, or a command that contains paths, to standard output.

    Scripts can use it as an argument, even if it starts with a hyphen or is not valid UTF-8. On a terminal,
    invalid bytes are escaped.
    """
    raw = os.fsencode(undashed(path))
    encoding = sys.getfilesystemencoding()
    click.echo(raw.decode(encoding, "backslashreplace") if sys.stdout.isatty() else raw)
