"""The API reference: one page for the public names and one page per package."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import minichar
from pages.equations import TYPESET, typeset

from .examples import GROUPS, Group

PACKAGES = ("devices", "engine", "text", "checkpoints", "sampling", "training", "formats", "pictures")

LEFT_OUT = ("__main__", "llm")
"""The command line's entry point, and a plugin that requires an optional package."""

INDEX = """\
# Python API

The names on this page are the public interface. The internal packages ({packages}) are documented
for reference and may change between versions.

{groups}

```{{toctree}}
:hidden:

{entries}
```
"""


def write_api(folder: Path) -> None:
    """Write ``folder/index.md`` and one page per package."""
    for name in PACKAGES:
        package = import_module(f"minichar.{name}")
        modules = [f"minichar.{name}.{module.name}" for module in iter_modules(package.__path__)]
        (folder / f"{name}.md").write_text(page(f"minichar.{name}", modules), encoding="utf-8")
    others = [module.name for module in iter_modules(minichar.__path__) if not module.ispkg]
    top = page("Other modules", [f"minichar.{name}" for name in others if name not in LEFT_OUT])
    (folder / "others.md").write_text(top, encoding="utf-8")
    packages = ", ".join(f"[{name}]({name}.md)" for name in PACKAGES) + " and [other modules](others.md)"
    groups = "\n\n".join(map(section, GROUPS))
    index = INDEX.format(packages=packages, groups=groups, entries="\n".join([*PACKAGES, "others"]))
    (folder / "index.md").write_text(index, encoding="utf-8")


def section(group: Group) -> str:
    """Return the section that documents a group of public names, starting with an example."""
    names = "\n".join(map(public, group.names))
    return f"## {group.title}\n\n```python\n{group.example}```\n\n```{{eval-rst}}\n{names}\n```"


def page(title: str, modules: list[str]) -> str:
    """Return a page with the docstring and the members of each module."""
    parts = [f"# {title}"]
    for name in modules:
        about = inspect.getdoc(import_module(name))
        parts += [f"## {name}", typeset(about) if name.startswith(TYPESET) else f"```text\n{about}\n```"]
        parts.append(
            f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :exclude-members: xp, N\n```"
        )
    return "\n\n".join(parts) + "\n"


def public(name: str) -> str:
    """Return the autodoc directive for a public name.

    With ``:no-index:``, cross-references to the object link to the page of its module, if there is one.
    """
    what = getattr(minichar, name)
    kind = "autofunction"
    if inspect.isclass(what):
        kind = "autoexception" if issubclass(what, Exception) else "autoclass"
    members = "   :members:\n" if kind == "autoclass" else ""
    return f".. {kind}:: minichar.{name}{own_signature(what)}\n   :no-index:\n{members}"


def own_signature(what: Any) -> str:
    """Return the signature in the source of a function whose ``__signature__`` lists every option.

    Autodoc would show that list, which is too long to read; the commands' pages describe the options.
    """
    if not hasattr(what, "__signature__"):
        return ""
    code, listed = what.__code__, inspect.signature(what).parameters
    *names, options = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]
    parameters = [listed[name].replace(annotation=inspect.Parameter.empty) for name in names]
    return str(inspect.Signature([*parameters, inspect.Parameter(options, inspect.Parameter.VAR_KEYWORD)]))
