import json
from secrets import token_hex

import pytest

pytest.importorskip("starlette")

from minichar.web.responses import encode


def decoded(document):
    return json.loads("".join(encode(document)))


def test_an_iterator_is_encoded_as_one_list():
    text = 'a "quoted" \\ 山 \u2028 </script>'
    document = {
        "text": text,
        "details": iter([[text, 1], [], [None], [[0.5, {"a": 2}]]]),
        "choices": ({"none": iter([]), "empty": iter([[]]), "one": iter([[], [True]])},),
        "list": [],
    }
    assert decoded(document) == {
        "text": text,
        "details": [text, 1, None, [0.5, {"a": 2}]],
        "choices": [{"none": [], "empty": [], "one": [True]}],
        "list": [],
    }
    assert decoded([]) == []


def test_text_cannot_imitate_an_iterator(monkeypatch):
    seen = [""]
    monkeypatch.setattr("secrets.token_hex", lambda: seen.append(token_hex()) or seen[-1])
    for _ in range(2):
        assert decoded({"text": [seen[-1]], "details": iter([[1]])}) == {"text": [seen[-2]], "details": [1]}
    assert len(seen[-1]) >= 32


def test_other_objects_are_rejected_immediately():
    with pytest.raises(TypeError, match="set cannot be encoded"):
        encode({"model": {1}})
