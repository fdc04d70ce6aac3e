"""Generation requests, validated against the schemas in ``openapi.json``."""

import json
import secrets
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from minichar.devices.cpu import host_generator
from minichar.errors import MinicharError
from minichar.sampling.choice import Choice
from minichar.sampling.generate import STREAM, Unknown, prime_ids
from minichar.sampling.streams import Stream
from minichar.text.vocabulary import Vocabulary
from minichar.web.errors import Refused

OPENAPI: dict[str, Any] = json.loads(files("minichar.web").joinpath("openapi.json").read_text("utf-8"))
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


@dataclass(frozen=True)
class Request:
    """Parameters of a generation request, as defined by the ``Generate`` schema."""

    model: str
    prime: str
    length: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    argmax: bool
    stop: tuple[str, ...]
    unknown: Unknown
    bias: tuple[tuple[str, float], ...]
    branches: tuple[tuple[int, str], ...]
    start: int
    alternatives: bool

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Create a request from a JSON value, or raise `Refused`. If the seed is missing, draw one."""
        given = validate(data, "Generate")
        seed = given.get("seed")
        return cls(
            model=given.get("model", ""),
            prime=given["prime"],
            length=int(given["length"]),  # 5.0 is a valid JSON Schema integer
            seed=secrets.randbelow(2**32) if seed is None else int(seed),
            temperature=float(given["temperature"]),
            top_k=int(given["top_k"]),
            top_p=float(given["top_p"]),
            argmax=given["argmax"],
            stop=tuple(given["stop"]),
            unknown=given["unknown"],
            bias=tuple((character, float(value)) for character, value in given["bias"].items()),
            branches=tuple((int(position), character) for position, character in given["branches"]),
            start=int(given["from"]),
            alternatives=given["alternatives"],
        )

    @classmethod
    def load(cls, text: str) -> Self:
        """Restore a request serialised by `dump`."""
        data = json.loads(text)
        pairs = {name: tuple(map(tuple, data[name])) for name in ("bias", "branches")}
        return cls(**data | {"stop": tuple(data["stop"])} | pairs)

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
            biased = [pair for pair in self.bias if self.unknown != "skip" or pair[0] in vocabulary]
            bias = {int(vocabulary.encode(character)[0]): value for character, value in biased}
        except MinicharError as error:
            raise Refused(str(error).partition("; remove them")[0], status=409) from error
        given |= dict(enumerate(vocabulary.encode(known).tolist(), self.start))
        choice = Choice(self.temperature, self.top_k, self.top_p, self.argmax)
        return Stream(prime, choice, host_generator(self.seed, STREAM, 0), given, bias)
