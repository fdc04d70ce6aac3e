"""Man pages, one per command, generated from the Click commands when the sdist is built."""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path[:0] = [str(Path(__file__).parents[level]) for level in (1, 2)]  # for `pages` and `minichar`

from minichar.cli import COMMANDS, main  # noqa: E402
from minichar.cli.examples import EXAMPLES  # noqa: E402
from minichar.cli.options import GroupedCommand  # noqa: E402
from pages.commands import words  # noqa: E402

FOLDER = "man"
"""Directory of the man pages in the sdist."""


class ManPages(BuildHookInterface):
    """Adds the man pages to the sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages to a temporary directory, and include it."""
        self.folder = TemporaryDirectory(prefix="minichar-man-")
        write_man_pages(Path(self.folder.name), self.metadata.version)
        build_data["force_include"][self.folder.name] = FOLDER

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the temporary directory."""
        self.folder.cleanup()


def write_man_pages(folder: Path, version: str) -> None:
    """Write ``minichar.1`` and one page per command, such as ``minichar-train.1``."""
    context = click.Context(main, info_name="minichar", **main.context_settings)
    rows = [(f"minichar {name}", summary) for name, summary in COMMANDS.items()]
    about = words(main)[0]
    see = [f"minichar-{name}" for name in COMMANDS]
    body = [*description(main, context), *entries("Commands", rows)]
    (folder / "minichar.1").write_text(page("minichar", about, version, body, see), encoding="utf-8")
    for name, summary in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        body = [*description(command, click.Context(command, info_name=name, parent=context))]
        body += [".SH EXAMPLES", *verbatim("\n".join(EXAMPLES[name]))]
        text = page(f"minichar-{name}", summary, version, body, ["minichar"])
        (folder / f"minichar-{name}.1").write_text(text, encoding="utf-8")


def page(name: str, summary: str, version: str, body: list[str], see: list[str]) -> str:
    """Return a man page. It has no date, so that it depends on the source only."""
    lines = [
        f'.TH {escaped(name.upper())} 1 "" "minichar {version}"',
        ".SH NAME",
        rf"{escaped(name)} \- {escaped(summary.removesuffix('.'))}",
        *body,
        ".SH SEE ALSO",
        ",\n".join(f".BR {escaped(other)} (1)" for other in see),
    ]
    return "\n".join(lines) + "\n"


def description(command: click.Command, context: click.Context) -> list[str]:
    """Return the synopsis, the help text and the options of a command and its subcommands."""
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [".SH SYNOPSIS", *verbatim(re.sub(r"\s+", " ", usage)), ".SH DESCRIPTION"]
    for text in words(command):
        is_verbatim = text.startswith("\b")
        lines += verbatim(text.strip("\b\n")) if is_verbatim else [".PP", escaped(" ".join(text.split()))]
    if isinstance(command, GroupedCommand):
        for heading, records in command.sections(context).items():
            lines += entries(heading, records)
    elif isinstance(command, click.Group) and command is not main:
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            below = description(inner, click.Context(inner, info_name=name, parent=context))
            lines += [f'.SH "{context.command_path.upper()} {name.upper()}"']
            lines += [re.sub(r"^\.SH", ".SS", line) for line in below]
    return lines


def entries(heading: str, records: list[tuple[str, str]]) -> list[str]:
    """Return a section with a list of terms and their descriptions."""
    lines = [f'.SH "{escaped(heading.upper())}"']
    for term, text in records:
        lines += [".TP", rf"\fB{escaped(term)}\fR", escaped(" ".join(text.split()))]
    return lines


def verbatim(text: str) -> list[str]:
    """Return text that is shown without rewrapping it."""
    return [".PP", ".nf", *(escaped(line) for line in text.splitlines()), ".fi"]


def escaped(text: str) -> str:
    r"""Escape non-ASCII characters and roff's special characters: ``\``, ``-``, and ``.`` or ``'`` first."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = re.sub(r"[^ -~]", lambda match: rf"\[u{ord(match[0]):04X}]", text)
    return re.sub(r"^([.'])", r"\\&\1", text)
