import json

import pytest

pytest.importorskip("starlette")

from minichar.web.responses import encode


def decoded(document):
    return json.loads("".join(encode(document)))


def test_an_iterator_is_encoded_as_one_list():
    text = 'a "quoted" \\ 山 \u2028 </script> {"":null}'
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


def test_other_objects_are_rejected_immediately():
    with pytest.raises(TypeError, match="set cannot be encoded"):
        encode({"model": {1}})
