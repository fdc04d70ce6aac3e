"""Test the routes in the form of OpenAI's API with OpenAI's package."""

import pytest
from optional import missing
from web_helpers import local_queue, server_in_thread

try:
    import openai
except ImportError:
    missing("openai")


@pytest.fixture(scope="module")
def client(model):
    queue = local_queue({"toy": model})
    with (
        server_in_thread(queue, keys=["secret"]) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0) as client,
    ):
        yield client


def test_completion(client, sampled):
    assert [model.id for model in client.models.list()] == ["toy"]
    expected = sampled(200, "山中", stop=(), temperature=0.7)
    fields = {"model": "toy", "prompt": "山中", "max_tokens": 200, "temperature": 0.7, "seed": 5}
    completion = client.completions.create(**fields, logprobs=2, echo=True)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == ("山中" + expected, "length")
    assert completion.usage.total_tokens == 202
    assert choice.logprobs.tokens == list(expected)
    with client.completions.create(**fields, stream=True) as stream:
        assert "".join(part.choices[0].text for part in stream) == expected


def test_errors(client):
    with pytest.raises(openai.NotFoundError, match="no model named") as caught:
        client.completions.create(model="gpt", prompt="")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="n: 2 is not one of") as caught:
        client.completions.create(model="toy", prompt="", n=2)
    assert caught.value.param == "n"
    with pytest.raises(openai.AuthenticationError, match="API key"):
        client.with_options(api_key="wrong").models.list()
