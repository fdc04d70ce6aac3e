"""Generation requests, validated against the schemas in ``openapi.json``.

The schema ``Generate`` also contains all fields of `Generation`; the file only states what differs.
"""

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from minichar.checks import OR_AUTO, Field, declared
from minichar.devices.cpu import host_generator
from minichar.errors import MinicharError
from minichar.sampling.generate import STREAM, Generation, prime_ids
from minichar.sampling.streams import Stream
from minichar.text.vocabulary import Vocabulary
from minichar.web.errors import Refused

JSON_TYPES = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    tuple[str, ...]: "array",
}


def schema_of(field: Field) -> dict[str, Any]:
    """Return the JSON Schema of a field. A value that minichar chooses has no default."""
    schema: dict[str, Any] = {"type": JSON_TYPES[field.kind], "description": field.help}
    if OR_AUTO not in field.rules:
        schema["default"] = field.default
    if field.names:
        schema["enum"] = [*field.names]
    for rule in field.rules:
        schema |= rule.limits
    return schema


OPENAPI: dict[str, Any] = json.loads(files("minichar.web").joinpath("openapi.json").read_text("utf-8"))
_fields = OPENAPI["components"]["schemas"]["Generate"]["properties"]
_fields |= {name: schema_of(field) | _fields.get(name, {}) for name, field in declared(Generation).items()}
MAX_MESSAGE = 200
"""Maximum length of a validation message, in characters. Longer messages are truncated."""


def validate(data: Any, schema: str) -> dict[str, Any]:
    """Validate `data` and return it with the schema's defaults filled in, or raise `Refused`."""
    expected = OPENAPI["components"]["schemas"][schema]
    try:
        error = best_match(Draft202012Validator(expected).iter_errors(data))
    except RecursionError:  # jsonschema's error messages contain the value's repr
        raise Refused("the request is nested too deeply") from None
    if error is not None:
        field, message = ".".join(map(str, error.absolute_path)) or None, error.message
        if len(message) > MAX_MESSAGE:  # keep the end of the message, which gives the reason
            message = f"…{message[-MAX_MESSAGE:]}"
        raise Refused(f"{field or 'the request'}: {message}", field)
    return {
        name: field["default"] for name, field in expected["properties"].items() if "default" in field
    } | data


@dataclass(frozen=True, kw_only=True)
class Request(Generation):
    """Parameters of a generation request, as defined by the ``Generate`` schema."""

    model: str
    bias: dict[str, float]
    branches: list[tuple[int, str]]
    start: int
    alternatives: bool

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Create a request from a JSON value, or raise `Refused`. If the seed is missing, draw one."""
        given = {"model": "", "seed": None} | validate(data, "Generate")
        given["start"] = given.pop("from")
        del given["stream"]
        whole = {  # 5.0 is a valid JSON Schema integer
            name: int(value)
            for name, value in given.items()
            if isinstance(value, float) and value.is_integer()
        }
        return cls(**given | whole)

    @classmethod
    def load(cls, text: str) -> Self:
        """Restore a request serialised by `dump`."""
        return cls(**json.loads(text))

    def dump(self) -> str:
        """Serialise the request to JSON."""
        return json.dumps(asdict(self))

    def stream(self, vocabulary: Vocabulary, reset_on: str = "", known: str = "") -> Stream:
        """Create the stream that generates text for this request.

        `reset_on` is the string at which the model's state is reset, if any, and `known` the text generated
        so far, without the first ``start`` characters. Raise `Refused` if the vocabulary lacks a character.
        """
        try:
            prime = prime_ids(vocabulary, self.prime, self.unknown, reset_on)
            given = {position: int(vocabulary.encode(character)[0]) for position, character in self.branches}
            biased = [each for each in self.bias if self.unknown != "skip" or each in vocabulary]
            bias = {int(vocabulary.encode(character)[0]): self.bias[character] for character in biased}
        except MinicharError as error:
            raise Refused(str(error).partition("; remove them")[0], status=409) from error
        given |= dict(enumerate(vocabulary.encode(known).tolist(), self.start))
        return Stream(prime, self.choice, host_generator(self.seed, STREAM, 0), given, bias)
