import json

import pytest

from minichar.web.parts import encode


def decoded(document):
    return json.loads("".join(encode(document)))


def test_an_iterator_is_encoded_as_one_list():
    """Strings in the document cannot be confused with the placeholder of an iterator."""
    text = 'a "quoted" \\ 山 \u2028 </script>' + json.dumps({"details": [1, 2]})
    document = {
        "text": text,
        "details": iter([[text, 1], [None], [[0.5, {"a": 2}]]]),
        "choices": ({"empty": iter([]), "one": iter([[True]])},),
        "list": [],
    }
    assert decoded(document) == {
        "text": text,
        "details": [text, 1, None, [0.5, {"a": 2}]],
        "choices": [{"empty": [], "one": [True]}],
        "list": [],
    }
    assert decoded([]) == []


def test_an_iterator_is_consumed_only_when_its_part_is_reached():
    def numbers():
        for k in range(3):
            reached.append(k)
            yield [k, k]

    reached = []
    parts = encode({"first": numbers(), "last": numbers()})
    assert (next(parts), reached) == ('{"first":', [])
    assert (next(parts), reached) == ("[0,0", [0])
    assert (next(parts), reached) == (",1,1", [0, 1])
    assert "".join(parts) == ',2,2],"last":[0,0,1,1,2,2]}'
    assert reached == [0, 1, 2, 0, 1, 2]


def test_a_value_that_is_not_json_is_rejected():
    with pytest.raises(TypeError):
        list(encode({"model": object()}))
