import json

import pytest
from web_helpers import CHARACTERS

from minichar.checks import declared
from minichar.sampling.generate import Generation
from minichar.text.vocabulary import Vocabulary
from minichar.web.errors import Refused
from minichar.web.request import OPENAPI, Request


def test_empty_request_uses_the_schema_defaults():
    request = Request.from_json({})
    assert (request.prime, request.length, request.temperature, request.start) == ("", 500, 1.0, 0)
    assert request.stop == ("\n" * 5,)
    assert not request.alternatives


def test_the_schema_has_every_option_with_its_default_and_limits():
    schema = OPENAPI["components"]["schemas"]["Generate"]["properties"]
    for name, field in declared(Generation).items():
        assert schema[name]["description"]
        if name not in ("length", "seed", "stop"):
            default = schema[name]["default"]
            assert getattr(Request.from_json({}), name) == default == field.default
    assert "default" not in schema["seed"]
    assert schema["unknown"]["enum"] == ["error", "skip", "unk"]
    assert schema["seed"].items() >= {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}.items()
    assert schema["top_p"].items() >= {"type": "number", "exclusiveMinimum": 0, "maximum": 1}.items()


def test_min_p_reaches_the_sampler():
    vocabulary = Vocabulary(CHARACTERS)
    assert [Request.from_json(data).stream(vocabulary).choice.min_p for data in ({}, {"min_p": 1})] == [
        0.0,
        1.0,
    ]


def test_missing_seed_is_drawn_at_random():
    assert len({Request.from_json({}).seed for _ in range(20)}) > 15
    assert Request.from_json({"seed": 0}).seed == 0


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "model": (1, None, "x" * 201),
        "prime": (1, ["a"], "a" * 5001),
        "length": (0, -1, 20001, "5", 1.5, True, None, 10**400),
        "from": (-1, 20001, 0.5),
        "seed": (-1, 2**53, "1", None, 1.5),
        "temperature": (0, 0.04, 10.1, -1, "1", None, True),
        "top_k": (-1, 0.5, 10**7),
        "top_p": (0, 1.1, -0.1),
        "min_p": (-0.1, 1.01, "0.1", None, True, 10**400, [], {"a": 0}),
        "argmax": (1, "yes"),
        "stop": ("a", [""], ["a"] * 9, ["a" * 101], [1], None),
        "unknown": ("guess", None, 1),
        "branches": ([[1]], [[1, "ab"]], [[-1, "a"]], [[20000, "a"]], [["a", 1]], [[1, "a", 2]], "x"),
        "alternatives": (1, None),
        "stream": ("no", 0),
        "path": ("../x", "cv/x.npz"),
    }.items(),
)
def test_errors_for_invalid_values_name_the_field(name, values):
    for value in values:
        with pytest.raises(Refused, match=name) as caught:
            Request.from_json({name: value})
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value).replace("\\n", "")


@pytest.mark.parametrize("nest", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["list", "dict"])
def test_values_that_are_nested_too_deeply(nest):
    value = "a"
    for _ in range(50_000):
        value = nest(value)
    with pytest.raises(Refused, match="the request is nested too deeply"):
        Request.from_json({"prime": value})


def test_requests_can_be_serialized_and_restored():
    data = {
        "prime": "\ud800山",
        "from": 7,
        "bias": {"a": 1},
        "branches": [[3, "中"], [5, "a"]],
        "stop": ["x", "\n"],
    }
    request = Request.from_json(data)
    assert Request.load(request.dump()) == request


def test_integers_may_have_a_decimal_point():
    request = Request.from_json(json.loads('{"length": 5.0, "seed": 7.0, "branches": [[1.0, "a"]]}'))
    assert (request.length, request.seed, request.branches) == (5, 7, [[1, "a"]])
    assert isinstance(request.length, int)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"prime": "山☃"}, r"'☃' \(U\+2603\) at position 2"),
        ({"prime": "\ud800"}, "U\\+D800"),
        ({"branches": [[3, "☃"]]}, "☃"),
        ({"prime": "☃", "unknown": "unk"}, "no unknown token"),
    ],
)
def test_errors_for_unknown_characters_mention_no_command_line_options(data, message):
    with pytest.raises(Refused, match=message) as caught:
        Request.from_json(data).stream(Vocabulary(CHARACTERS))
    assert "--unknown" not in str(caught.value)
