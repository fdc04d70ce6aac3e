"""Plugin for `llm <https://llm.datasette.io>`_: generate text with ``llm -m minichar/cv "The "``.

This module is not in a package, because llm finds it by the name in ``pyproject.toml``, and nothing in
minichar imports it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm
from pydantic import Field

import minichar
from minichar.checkpoints.naming import is_checkpoint
from minichar.errors import Option
from minichar.sampling.generate import Unknown


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

    class Options(llm.Options):
        """Options of ``llm -o``, as in `minichar.Model.stream`."""

        temperature: float = Field(1.0, description="Lower values make the text more predictable.")
        top_k: int = Field(0, description="Choose among the k most likely characters. 0: all.")
        top_p: float = Field(1.0, description="Choose among likely characters with this total probability.")
        argmax: bool = Field(False, description="Always choose the most likely character.")
        length: int = Field(400, description="Number of characters to generate. 0: no limit.")
        seed: int | None = Field(None, description="Random seed. The same seed gives the same text.")
        stop: str = Field("", description="Stop before this string.")
        unknown: Unknown = Field("error", description="Unknown characters in the prompt: error, skip or unk.")

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
