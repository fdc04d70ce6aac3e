"""What a visitor asks for, checked against the schemas of ``openapi.json``."""

import json
import secrets
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from typing import Any, Self

import numpy as np
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from minichar.devices.cpu import host_generator
from minichar.errors import MinicharError
from minichar.sampling.choice import Choice
from minichar.sampling.generate import STREAM, Unknown, prime_ids
from minichar.sampling.streams import Stream
from minichar.text.vocabulary import Vocabulary

OPENAPI: dict[str, Any] = json.loads(files("minichar.web").joinpath("openapi.json").read_text("utf-8"))
SHOWN = 200
"""How much of what was wrong an error repeats."""


class BadRequest(MinicharError):
    """The visitor's mistake."""


def check(data: Any, schema: str) -> dict[str, Any]:
    """Return `data` with the schema's defaults filled in.

    Raises
    ------
    BadRequest
        If it is not what the schema describes.
    """
    wanted = OPENAPI["components"]["schemas"][schema]
    error = best_match(Draft202012Validator(wanted).iter_errors(data))
    if error is not None:
        place = ".".join(map(str, error.absolute_path)) or "the request"
        said = error.message if len(error.message) <= SHOWN else f"…{error.message[-SHOWN:]}"
        raise BadRequest(f"{place}: {said}")
    return {
        name: value["default"] for name, value in wanted["properties"].items() if "default" in value
    } | data


@dataclass(frozen=True)
class Request:
    """All that decides a text, and from where on it is wanted; described in the schema ``Generate``."""

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
    branches: tuple[tuple[int, str], ...]
    start: int
    alternatives: bool

    @classmethod
    def of(cls, data: Any) -> Self:
        """Return the request that this JSON value describes; a seed is chosen where it has none.

        Raises
        ------
        BadRequest
            If the value is not as the schema says.
        """
        given = check(data, "Generate")
        seed = given.get("seed")
        return cls(
            model=given.get("model", ""),
            prime=given["prime"],
            length=int(given["length"]),  # JSON's 5.0 is a whole number, too
            seed=secrets.randbelow(2**32) if seed is None else int(seed),
            temperature=float(given["temperature"]),
            top_k=int(given["top_k"]),
            top_p=float(given["top_p"]),
            argmax=given["argmax"],
            stop=tuple(given["stop"]),
            unknown=given["unknown"],
            branches=tuple((int(place), character) for place, character in given["branches"]),
            start=int(given["from"]),
            alternatives=given["alternatives"],
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the request that `dump` wrote."""
        data = json.loads(text)
        branches = tuple((place, character) for place, character in data["branches"])
        return cls(**data | {"stop": tuple(data["stop"]), "branches": branches})

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    def of_model(self, name: str) -> Self:
        """Return the request for the model of this name."""
        return replace(self, model=name)

    def stream(self, vocabulary: Vocabulary, written: str = "") -> Stream:
        """Return the text's stream; `written` is how it is known to begin.

        Raises
        ------
        BadRequest
            If the model does not know a character.
        """
        try:
            prime = prime_ids(vocabulary, self.prime, self.unknown)
            given = {place: int(vocabulary.encode(character)[0]) for place, character in self.branches}
        except MinicharError as error:
            raise BadRequest(str(error).partition("; leave them out")[0]) from error
        given |= dict(enumerate(vocabulary.encode(written).tolist()))
        choice = Choice(self.temperature, self.top_k, self.top_p, self.argmax)
        return Stream(prime, choice, host_generator(self.seed, STREAM, 0), given)


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return softmax(scores) of each column ``(V, n)``: the model's own, at temperature 1."""
    p = np.exp(scores - scores.max(axis=0))  # (V, n)
    return p / p.sum(axis=0)
