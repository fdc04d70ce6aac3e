"""The command reference: one page per command, generated from the Click commands."""

import inspect
import re
from pathlib import Path

import click

from minichar.cli import COMMANDS, main
from minichar.cli.examples import EXAMPLES
from minichar.cli.options import GroupedCommand
from pages.terms import OPTION, directive

INDEX = """\
# Commands

These pages reproduce the output of `minichar COMMAND --help` or, for `train` and `sweep`,
`--help-all`. Options can also be spelt with underscores, as in `--rnn_size`. The source distribution
contains the same reference as man pages, for example `man/minichar-train.1`.

| command | description |
|---|---|
{rows}

```{{toctree}}
:hidden:

{entries}
```
"""


def write_commands(folder: Path) -> None:
    """Write ``folder/index.md`` and one page per command."""
    context = click.Context(main, info_name="minichar", **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        (folder / f"{name}.md").write_text(section(command, name, context, 1), encoding="utf-8")
    rows = "\n".join(f"| [minichar {name}]({name}.md) | {words} |" for name, words in COMMANDS.items())
    (folder / "index.md").write_text(INDEX.format(rows=rows, entries="\n".join(COMMANDS)), encoding="utf-8")


def section(command: click.Command, name: str, parent: click.Context, level: int) -> str:
    """Return a section for a command and its subcommands: usage, help, examples and options."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        f"{'#' * level} {context.command_path}",
        f"```text\n{usage}\n```",
        *map(paragraph, words(command)),
    ]
    if level == 1:
        parts.append("```sh\n" + "\n".join(EXAMPLES[name]) + "\n```")
    sections = command.sections(context) if isinstance(command, GroupedCommand) else {}
    for heading, records in sections.items():
        entries = [entry(name, words) for name, words in records if "--help" not in name]
        parts += [f"{'#' * (level + 1)} {heading}", *entries] if entries else []
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner is not None
            parts.append(section(inner, below, context, level + 1))
    return "\n\n".join(parts) + "\n"


def entry(name: str, words: str) -> str:
    """Return the definition of an argument or an option, with index entries that the search finds."""
    options = OPTION.findall(name)
    index = directive(options).replace("\n", "\n  ") + "\n\n  " if options else ""
    return f"`{name}`\n: {index}{escaped(words)}"


def words(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help text."""
    return inspect.cleandoc(command.help or "").split("\n\n")


def paragraph(text: str) -> str:
    """Return a paragraph as Markdown. Paragraphs that Click prints verbatim become code blocks."""
    if text.startswith("\b"):
        return f"```text\n{text.removeprefix(chr(8)).strip(chr(10))}\n```"
    return escaped(text)


def escaped(text: str) -> str:
    """Escape Markdown outside code spans, and format options as code."""
    parts = re.split(r"(`[^`]*`)", text)  # every other part is code
    parts[::2] = [
        re.sub(r"(--[a-z][a-z-]+)", r"`\1`", re.sub(r"([*\[<$])", r"\\\1", part)) for part in parts[::2]
    ]
    return "".join(parts)
