"""The API reference of the public names."""

import inspect
from pathlib import Path
from typing import Any

import minichar

from .examples import GROUPS, Group

INDEX = """\
# Python API

The names on this page are the public interface. All other names are internal and may change between versions;
[Read the source](../source.md) describes where to find them.

{groups}
"""


def write_api(folder: Path) -> None:
    """Write ``folder/index.md``."""
    groups = "\n\n".join(map(section, GROUPS))
    (folder / "index.md").write_text(INDEX.format(groups=groups), encoding="utf-8")


def section(group: Group) -> str:
    """Return the section that documents a group of public names, starting with an example."""
    names = "\n".join(map(public, group.names))
    return f"## {group.title}\n\n```python\n{group.example}```\n\n```{{eval-rst}}\n{names}\n```"


def public(name: str) -> str:
    """Return the autodoc directive for a public name."""
    what = getattr(minichar, name)
    kind = "autofunction"
    if inspect.isclass(what):
        kind = "autoexception" if issubclass(what, Exception) else "autoclass"
    members = "   :members:\n" if kind == "autoclass" else ""
    return f".. {kind}:: minichar.{name}{own_signature(what)}\n{members}"


def own_signature(what: Any) -> str:
    """Return the signature in the source of a function whose ``__signature__`` lists every option.

    Autodoc would show that list, which is too long to read; the commands' pages describe the options.
    """
    if inspect.isclass(what) or not hasattr(what, "__signature__"):
        return ""
    code, listed = inspect.unwrap(what).__code__, inspect.signature(what).parameters
    *names, options = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]
    parameters = [listed[name].replace(annotation=inspect.Parameter.empty) for name in names]
    return str(inspect.Signature([*parameters, inspect.Parameter(options, inspect.Parameter.VAR_KEYWORD)]))
