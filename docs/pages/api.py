"""The API reference: a page for the public names, and one for each part of the package."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import minichar

PARTS = ("engine", "text", "training", "formats", "pictures")

INDEX = """\
# Python API

The names below are the whole public interface. The rest of the package, {parts}, is
documented to be read, and may change from one version to the next.

```{{eval-rst}}
{names}
```

```{{toctree}}
:hidden:

{entries}
```
"""


def write_api(folder: Path) -> None:
    """Write ``folder/index.md`` and a page for each part."""
    for part in PARTS:
        package = import_module(f"minichar.{part}")
        modules = [f"minichar.{part}.{module.name}" for module in iter_modules(package.__path__)]
        (folder / f"{part}.md").write_text(page(f"minichar.{part}", modules), encoding="utf-8")
    others = [module.name for module in iter_modules(minichar.__path__) if not module.ispkg]
    top = page("Other modules", [f"minichar.{name}" for name in others if name not in ("__main__", "api")])
    (folder / "others.md").write_text(top, encoding="utf-8")
    parts = ", ".join(f"[{part}]({part}.md)" for part in PARTS) + " and [others](others.md)"
    names = "\n".join(public(name) for name in minichar.__all__)
    index = INDEX.format(parts=parts, names=names, entries="\n".join([*PARTS, "others"]))
    (folder / "index.md").write_text(index, encoding="utf-8")


def page(title: str, modules: list[str]) -> str:
    """Return a page of modules: what each says of itself, as it stands for its equations, then its names."""
    parts = [f"# {title}"]
    for name in modules:
        about = inspect.getdoc(import_module(name))
        parts += [f"## {name}", f"```text\n{about}\n```"]
        parts.append(
            f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :exclude-members: xp, N\n```"
        )
    return "\n\n".join(parts) + "\n"


def public(name: str) -> str:
    """Return the directive for one public name; what links to it leads to the page of its module."""
    what = getattr(minichar, name)
    kind = "autofunction"
    if inspect.isclass(what):
        kind = "autoexception" if issubclass(what, Exception) else "autoclass"
    members = "   :members:\n" if kind == "autoclass" else ""
    return f".. {kind}:: minichar.{name}\n   :no-index:\n{members}"
