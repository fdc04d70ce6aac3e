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


def test_a_section_is_created_when_its_part_is_requested():
    def numbers():
        for k in range(3):
            reached.append(k)
            yield [k, k]

    reached = []
    parts = encode({"first": numbers(), "last": numbers()})
    assert (next(parts), reached) == ('{"first":[', [])
    assert (next(parts), reached) == ("0,0", [0])
    assert (next(parts), reached) == (",1,1", [0, 1])
    assert "".join(parts) == ',2,2],"last":[0,0,1,1,2,2]}'
    assert reached == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("value", [object(), {1}, b"ab"])
def test_other_objects_are_rejected_immediately(value):
    with pytest.raises(TypeError, match=f"{type(value).__name__} cannot be encoded"):
        encode({"model": value})
