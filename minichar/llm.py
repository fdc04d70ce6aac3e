"""Plugin for `llm <https://llm.datasette.io>`_: generate text with ``llm -m minichar/cv "The "``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm

import minichar
from minichar.checkpoints.naming import is_checkpoint
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

        temperature: float = 1.0
        top_k: int = 0
        top_p: float = 1.0
        argmax: bool = False
        length: int = 400
        seed: int | None = None
        stop: str = ""
        unknown: Unknown = "error"

    def __init__(self, folder: Path) -> None:
        self.folder, self.model_id = folder, f"minichar/{folder}"

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Yield the text that continues the conversation, without the prompt."""
        if prompt.system:
            raise minichar.MinicharError(f"{self.model_id} does not support a system prompt: omit it")
        before = conversation.responses if conversation else ()
        text = "".join(f"{turn.prompt.prompt}{turn.text()}" for turn in before) + prompt.prompt
        model = minichar.load(self.folder)
        yield from model.stream(text, **prompt.options.model_dump())
