"""Test the routes in the form of OpenAI's API, and that OpenAI's package can use them."""

import json
from math import exp, log

import numpy as np
import pytest
from optional import missing
from web_helpers import client_of, following, server_in_thread, validate

from minichar.web.completions import generation, parse
from minichar.web.details import Details, pack
from minichar.web.update import Update

PATH = "/v1/completions"


def parts(response):
    """Return the parts of a streamed completion, and check them against the OpenAPI document."""
    events = [block for block in response.text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in events)
    *found, last = (block.removeprefix("data: ") for block in events)
    assert last == "[DONE]"
    found = [json.loads(data) for data in found]
    for part in found:
        validate(part, {"$ref": "#/components/schemas/CompletionDocument"})
    return found


@pytest.fixture
def complete(send):
    """Return a function that completes a prompt, as a whole and as a stream, and returns both."""

    def complete(**fields):
        whole = send("POST", PATH, fields).json
        stream = parts(send("POST", PATH, fields | {"stream": True}))
        assert {part["model"] for part in stream} == {whole["model"]} == {"toy"}
        assert len({part["id"] for part in stream}) == 1
        (choice,) = whole["choices"]
        streamed = [part["choices"][0] for part in stream if part["choices"]]
        assert "".join(part["text"] for part in streamed) == choice["text"]
        assert [part["finish_reason"] for part in streamed[:-1]] == [None] * (len(streamed) - 1)
        assert streamed[-1]["finish_reason"] == choice["finish_reason"]
        return whole, stream

    return complete


def test_the_text_is_the_text_of_the_api(complete, sampled):
    whole, stream = complete(prompt="山中", seed=5, max_tokens=200, temperature=0.7, top_p=0.8, model="toy")
    expected = sampled(200, "山中", stop=(), temperature=0.7, top_p=0.8)
    assert whole["choices"] == [{"text": expected, "index": 0, "finish_reason": "length", "logprobs": None}]
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 200, "total_tokens": 202}
    assert whole["seed"] == 5
    assert "usage" not in stream[-1]


def test_defaults_and_fields_that_are_null_or_have_no_effect(complete, sampled):
    whole, _ = complete(seed=5)
    assert whole["choices"][0]["text"] == sampled(16, stop=())
    neutral = {"n": 1, "best_of": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "user": "x"}
    nothing = {"stop": None, "prompt": None, "max_tokens": None, "logprobs": None, "stream_options": None}
    again, _ = complete(seed=5, **neutral, **nothing)
    assert again["choices"] == whole["choices"]


def test_stop_echo_and_a_prompt_in_a_list(complete, sampled):
    plain = sampled(300, "ab", stop=())
    for stop in (plain[20:22], [plain[20:22], plain[250:260]]):
        whole, _ = complete(prompt=["ab"], seed=5, max_tokens=300, stop=stop, echo=True)
        assert whole["choices"][0]["text"] == "ab" + plain[: plain.index(plain[20:22])]
        assert whole["choices"][0]["finish_reason"] == "stop"


def test_characters_that_are_not_in_the_vocabulary_are_skipped(complete, sampled):
    whole, _ = complete(prompt="a☃b", seed=5, echo=True)
    assert whole["choices"][0]["text"] == "a☃b" + sampled(16, "ab", stop=())


def test_temperature_zero_is_argmax(complete, sampled):
    whole, _ = complete(seed=5, temperature=0)
    assert whole["choices"][0]["text"] == sampled(16, stop=(), argmax=True)
    assert [generation(parse({"temperature": t})).argmax for t in (0, 0.04, 0.05)] == [True, True, False]


def test_logprobs(complete, send):
    fields = {"prompt": "ab", "seed": 5, "max_tokens": 250, "echo": True}
    whole, stream = complete(logprobs=3.0, **fields)
    text, found = whole["choices"][0]["text"], whole["choices"][0]["logprobs"]
    assert found["tokens"] == list(text[2:])
    assert found["text_offset"] == list(range(2, 252))
    data = {"prime": "ab", "seed": 5, "length": 250, "alternatives": True, "stream": False}
    details = send("POST", "/api/generate", data).json["details"]
    assert [exp(p) for p in found["token_logprobs"]] == pytest.approx([p or 5e-6 for p, _ in details])
    for top, (_, others) in zip(found["top_logprobs"], details, strict=True):
        assert top == {c: pytest.approx(log(p or 5e-6)) for c, p in others[:3]}
    for name, values in found.items():
        assert values == [v for part in stream for v in part["choices"][0]["logprobs"][name]]
    none, _ = complete(logprobs=0, **fields)
    assert none["choices"][0]["logprobs"]["top_logprobs"] == [{}] * 250


def test_a_probability_that_rounds_to_zero_has_a_logarithm(queue, monkeypatch):
    (row,) = pack(np.array([[1.0], [0.0]]), np.array([1]), np.array([97, 98]))
    monkeypatch.setattr(queue, "follow", following(Update("b", Details(row), 1, "length")))
    with client_of(queue) as client:
        found = client.post(PATH, json={"logprobs": 2}).json["choices"][0]["logprobs"]
    assert found["token_logprobs"] == [pytest.approx(log(5e-6))]
    assert found["top_logprobs"] == [{"a": 0.0, "b": pytest.approx(log(5e-6))}]


def test_usage_at_the_end_of_a_stream(complete):
    _, stream = complete(prompt="ab", max_tokens=7, seed=1, stream_options={"include_usage": True})
    assert stream[-1]["choices"] == []
    assert stream[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9}


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({"model": "gpt"}, 404, "model", "model_not_found"),
        ({"n": 2}, 400, "n", None),
        ({"colour": None}, 400, None, None),
        ({"presence_penalty": 0.5}, 400, "presence_penalty", None),
        ({"max_tokens": -1}, 400, "max_tokens", None),
        ({"logit_bias": {"ab": 1}}, 400, "logit_bias", None),
        ({"logit_bias": {"a": 101}}, 400, "logit_bias.a", None),
        ({"logprobs": 6}, 400, "logprobs", None),
        ({"prompt": [1, 2]}, 400, "prompt.0", None),
        ({"prompt": ["a", "b"]}, 400, "prompt", None),
        ({"stop": [""]}, 400, "stop.0", None),
        ({"suffix": "x"}, 400, "suffix", None),
        ({"prompt": "x" * 70000}, 413, None, None),
    ],
)
def test_errors_have_the_form_of_openai(send, fields, status, param, code):
    response = send("POST", PATH, fields)
    error = response.json["error"]
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]
    assert ("cannot fill a gap" in error["message"]) == ("suffix" in fields)


def test_limit_and_key(queue, monkeypatch):
    monkeypatch.setattr("minichar.web.access.PENALTY", 0.0)
    key = {"Authorization": "Bearer secret"}
    with client_of(queue, per_client=1, keys=["secret"]) as client:
        for path in (PATH, "/v1/models"):
            response = client.open(path, "POST" if path == PATH else "GET", json={})
            assert response.status_code == 401
            assert response.json["error"]["code"] == "invalid_api_key"
        client.post(PATH, json={"max_tokens": 20000, "stream": True}, headers=key)
        for path in (PATH, "/api/generate"):
            assert client.post(path, json={}, headers=key).status_code == 429
        assert client.post(PATH, json={}, headers=key).json["error"]["code"] == "rate_limit_exceeded"


def test_an_empty_completion_echoes_the_prompt(complete):
    whole, _ = complete(prompt="a☃", max_tokens=0, echo=True, logprobs=1, seed=5)
    choice = whole["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]["tokens"]) == ("a☃", "length", [])
    assert whole["usage"]["completion_tokens"] == 0


def test_bias_changes_how_likely_a_character_is_but_not_its_log_probability(complete, sampled):
    whole, _ = complete(seed=5, max_tokens=30, logit_bias={"山": 100, "☃": 1}, logprobs=1)
    choice = whole["choices"][0]
    assert choice["text"] == "山" * 30
    assert min(choice["logprobs"]["token_logprobs"]) < log(0.5)
    whole, _ = complete(seed=5, max_tokens=300, logit_bias=dict.fromkeys("aeio", -100))
    assert not set(whole["choices"][0]["text"]) & set("aeio")
    assert set(sampled(300, stop=())) & set("aeio")


def test_models(send):
    (model,) = send("GET", "/v1/models").json["data"]
    assert model["id"] == "toy"
    route = "/v1/models/{model}"
    assert send("GET", "/v1/models/toy", route=route).json["id"] == "toy"
    missing = send("GET", "/v1/models/other", route=route)
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
def test_other_routes_of_openai_name_the_one_that_exists(client, path):
    response = client.post(f"/v1/{path}", json={"model": "toy", "messages": []})
    assert response.status_code == 404
    assert "/v1/completions" in response.json["error"]["message"]


def test_the_package_of_openai_can_use_the_routes(queue, sampled, monkeypatch):
    try:
        import openai
    except ImportError:
        missing("openai")
    monkeypatch.setattr("minichar.web.access.PENALTY", 0.0)
    expected = sampled(200, "山中", stop=(), temperature=0.7)
    fields = {"model": "toy", "prompt": "山中", "max_tokens": 200, "temperature": 0.7, "seed": 5}
    with (
        server_in_thread(queue, keys=["secret"]) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["toy"]
        completion = client.completions.create(**fields, logprobs=2, echo=True)
        (choice,) = completion.choices
        assert (choice.text, choice.finish_reason) == ("山中" + expected, "length")
        assert completion.usage.total_tokens == 202
        assert choice.logprobs.tokens == list(expected)
        with client.completions.create(**fields, stream=True) as stream:
            assert "".join(part.choices[0].text for part in stream) == expected
        with pytest.raises(openai.NotFoundError, match="no model named 'gpt': choose toy") as caught:
            client.completions.create(model="gpt", prompt="")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError, match="n: 2 is not one of"):
            client.completions.create(model="toy", prompt="", n=2)
        with pytest.raises(openai.AuthenticationError, match="API key"):
            client.with_options(api_key="wrong").models.list()
