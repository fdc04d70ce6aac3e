"""Routes that are compatible with OpenAI's completions API. A token is one character."""

import json
import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minichar.web.delivery import Delivery, Form
from minichar.web.details import UNIT, Details
from minichar.web.errors import Busy, Refused, error_body
from minichar.web.request import OPENAPI, Request, validate
from minichar.web.responses import encode, json_body
from minichar.web.update import Update, pieces

PATH = "/v1/completions"
COLDEST = OPENAPI["components"]["schemas"]["Generate"]["properties"]["temperature"]["minimum"]
"""Below this temperature, the most likely character is always chosen."""
FIELDS = OPENAPI["components"]["schemas"]["Completion"]["properties"]
SMALLEST = math.log(0.5 / UNIT)
"""Log probability to return for a probability rounded to 0."""


@dataclass(frozen=True)
class Completion(Form):
    """The completion of one prompt.

    `created` is the Unix time of the request, in seconds. `logprobs` is the number of alternatives per
    character, or None if no probabilities are requested. With `usage`, a stream ends with the token counts.
    """

    after = 0
    job_id: str
    request: Request
    created: int
    echo: bool
    logprobs: int | None
    usage: bool

    @property
    def prefix(self) -> str:
        """The prompt if the response echoes it, otherwise an empty string."""
        return self.request.prime if self.echo else ""

    def document(self, update: Update) -> dict[str, Any]:
        """Return the response for a job that has ended, to be encoded by `minichar.web.responses.encode`."""
        if update.reason == "error":
            raise HTTPException(500, update.error)
        if update.reason not in ("length", "stop"):
            raise Busy("generation was interrupted: try again later")
        lists = {name: map(values, pieces(update)) for name, values in self._logprobs().items()}
        choice = self._choice(update, lists)
        choice["text"] = self.prefix + choice["text"]
        return self._envelope(choice) | {"usage": self._usage(update)}

    def begin(self) -> str:
        """Return a server-sent event that echoes the prompt, or an empty string if none is needed."""
        if not self.prefix:
            return ""
        return self._event(Update(self.prefix, Details(), 0))

    def events(self, update: Update) -> Iterator[str]:
        """Yield the server-sent events for an update of the job."""
        if update.reason not in (None, "length", "stop"):
            yield event(error_body(PATH, 500, update.error or "generation was interrupted"))
            return
        yield self._event(update)
        if update.reason and self.usage:
            yield event(self._envelope() | {"usage": self._usage(update)})
        if update.reason:
            yield "data: [DONE]\n\n"

    def _envelope(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.job_id}",
            "object": "text_completion",
            "created": self.created,
            "model": self.request.model,
            "seed": self.request.seed,
            "choices": choices,
        }

    def _event(self, update: Update) -> str:
        lists = {name: values(update) for name, values in self._logprobs().items()}
        return event(self._envelope(self._choice(update, lists)))

    def _choice(self, update: Update, lists: dict[str, Any]) -> dict[str, Any]:
        return {"text": update.text, "index": 0, "logprobs": lists or None, "finish_reason": update.reason}

    def _logprobs(self) -> dict[str, Callable[[Update], list[Any]]]:
        """Return functions that compute the ``logprobs`` fields of an update, if requested.

        The fields cover only the generated characters, not the prompt.
        """
        alternatives = self.logprobs
        if alternatives is None:
            return {}

        def offsets(update: Update) -> list[int]:
            start = len(self.prefix) + update.end - len(update.text)
            return list(range(start, start + len(update.details)))

        return {
            "tokens": lambda update: list(update.text[: len(update.details)]),
            "token_logprobs": lambda update: [log(p) for p, _ in update.details],
            "top_logprobs": lambda update: [
                {c: log(p) for c, p in others[:alternatives]} for _, others in update.details
            ],
            "text_offset": offsets,
        }

    def _usage(self, update: Update) -> dict[str, int]:
        prompt, completion = len(self.request.prime), update.end
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def completion_routes(delivery: Delivery) -> list[Route]:
    """Return the routes ``/v1/completions`` and ``/v1/models``."""

    async def complete(http: HttpRequest) -> Response:
        given = parse(await json_body(http))
        wanted, logprobs = generation(given), given.get("logprobs")
        form = partial(
            Completion,
            created=int(time.time()),
            echo=given["echo"],
            logprobs=None if logprobs is None else int(logprobs),  # 4.0 is a valid JSON Schema integer
            usage=given.get("stream_options", {}).get("include_usage", False),
        )
        if not given["max_tokens"]:
            request = replace(wanted, model=(await delivery.queue.model(wanted.model)).name)
            return nothing(form(secrets.token_urlsafe(12), request), given["stream"])
        slot, request = await delivery.submit(http, wanted)
        if given["stream"]:
            return delivery.events(slot, form(slot.job_id, request))
        return await delivery.document(slot, form(slot.job_id, request))

    async def models(http: HttpRequest) -> Response:
        return JSONResponse(
            {"object": "list", "data": [card(model.name) for model in await delivery.queue.models()]}
        )

    async def retrieve(http: HttpRequest) -> Response:
        return JSONResponse(card((await delivery.queue.model(http.path_params["model"])).name))

    return [
        Route(PATH, complete, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{model}", retrieve),
    ]


def nothing(completion: Completion, stream: bool) -> Response:
    """Return the response to a request for zero tokens."""
    update = Update("", Details(), 0, "length")
    if stream:
        events = completion.begin() + "".join(completion.events(update))
        return Response(events, media_type="text/event-stream")
    return Response("".join(encode(completion.document(update))), media_type="application/json")


def card(name: str) -> dict[str, Any]:
    """Return the description of a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "minichar"}


def parse(data: dict[str, Any]) -> dict[str, Any]:
    """Validate a request body (schema ``Completion``), in which null stands for a missing field."""
    present = {name: value for name, value in data.items() if value is not None or name not in FIELDS}
    if present.get("suffix"):
        raise Refused("suffix is not supported: models only continue text and cannot fill a gap", "suffix")
    return validate(present, "Completion")


def generation(given: dict[str, Any]) -> Request:
    """Return the request for the text of a completion.

    Characters that are not in the vocabulary are skipped, because clients of OpenAI's API may send any text.
    """
    prompt, stop, temperature = given["prompt"], given["stop"], given["temperature"]
    request = {
        "prime": prompt if isinstance(prompt, str) else prompt[0],
        "length": max(1, given["max_tokens"]),
        "temperature": max(temperature, COLDEST),
        "argmax": temperature < COLDEST,
        "top_p": given["top_p"],
        "stop": [stop] if isinstance(stop, str) else stop,
        "bias": given.get("logit_bias", {}),
        "alternatives": "logprobs" in given,
        "unknown": "skip",
    }
    return Request.from_json(request | {name: given[name] for name in ("model", "seed") if name in given})


def event(data: dict[str, Any]) -> str:
    """Return a server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


def log(p: float) -> float:
    """Return the logarithm of a probability that may be rounded to 0."""
    return math.log(p) if p else SMALLEST
