"""Plugin for `llm <https://llm.datasette.io>`_: generate text with ``llm -m minichar/cv "The "``.

This module is not in a package, because llm finds it by the name in ``pyproject.toml``, and nothing in
minichar imports it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm
from pydantic import Field, create_model

import minichar
from minichar.checkpoints.naming import is_checkpoint
from minichar.checks import declared
from minichar.errors import Option
from minichar.sampling.generate import Generation

DIFFERENT: dict[str, Any] = {"length": (int, 400), "seed": (int | None, None), "stop": (str, "")}
"""Types and defaults that differ from those of `Generation`. ``-o`` can pass only one stop string."""
OPTIONS: dict[str, Any] = {
    name: (kind, Field(default, description=field.help))
    for name, field in declared(Generation).items()
    for kind, default in [DIFFERENT.get(name, (field.annotation, field.default))]
    if name != "prime"  # the prompt of ``llm``
}


@llm.hookimpl
def register_models(register: Any) -> None:
    """Register each directory of checkpoints in the current directory, for example ``cv`` as ``minichar/cv``.

    Nothing is loaded yet, because every ``llm`` command calls this function.
    """
    for folder in sorted({path.parent for path in Path().glob("*/*.npz") if is_checkpoint(path)}):
        register(Minichar(folder))


class Minichar(llm.Model):
    """The best checkpoint in a directory, which continues the prompt."""

    can_stream = True

    Options = create_model("Options", __base__=llm.Options, **OPTIONS)

    def __init__(self, folder: Path) -> None:
        self.folder, self.model_id = folder, f"minichar/{folder}"

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Yield the text that continues the conversation, without the prompt."""
        if prompt.system:
            raise minichar.MinicharError(f"{self.model_id} does not support a system prompt: omit it")
        before = conversation.responses if conversation else ()
        text = "".join(f"{turn.prompt.prompt}{turn.text()}" for turn in before) + prompt.prompt
        try:
            yield from minichar.load(self.folder).stream(text, **prompt.options.model_dump())
        except minichar.MinicharError as error:
            raise minichar.MinicharError(*map(spelled, error.args)) from error


def spelled(part: str | Option) -> str:
    """Return a part of an error message, with options spelled as in ``llm -o``."""
    if isinstance(part, Option) and part.value is not None:
        return f"-o {part.name} {part.value}"
    return str(part)
