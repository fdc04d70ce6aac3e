"""The application is what ``openapi.json`` says, and no more."""

import json

import pytest
from visiting import CHARACTERS, Events, patiently

from minichar import Choice, generate
from minichar.web.app import HEADERS, make_app
from minichar.web.desk import Desk, Unavailable
from minichar.web.request import OPENAPI
from minichar.web.scheduler import Busy, Piece

jsonschema = pytest.importorskip("jsonschema")
PAGES = {"/", "/page.css", "/page.js", "/words.js", "/icon.svg"}


def conforms(value, schema):
    """Hold a value to a schema of the file, with the references in it."""
    jsonschema.Draft202012Validator(schema | {"components": OPENAPI["components"]}).validate(value)


@pytest.fixture
def ask(client):
    """Send a request; the answer must be one that the file describes."""

    def ask(method, path, value=None, route=None, **options):
        if value is not None:
            options |= {"data": json.dumps(value), "content_type": "application/json"}
        response = client.open(path, method=method, **options)
        described = OPENAPI["paths"][route or path][method.lower()]["responses"]
        assert str(response.status_code) in described, response.text
        answer = described[str(response.status_code)]
        if "$ref" in answer:
            answer = OPENAPI["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        for name, header in answer.get("headers", {}).items():
            conforms(int(response.headers[name]), header["schema"])
        kinds = answer.get("content", {})
        assert (response.mimetype in kinds) if kinds else not response.data
        if response.mimetype == "application/json":
            conforms(response.json, kinds["application/json"]["schema"])
        if response.mimetype == "text/event-stream":
            for name, _, data in Events(response.data.splitlines(keepends=True)).rest().all:
                conforms(data, {"$ref": f"#/components/schemas/{name.capitalize()}"})
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        return response

    return ask


def events(response):
    return Events(response.data.splitlines(keepends=True)).rest()


def sampled(model, n, prime="", seed=1, **choice):
    return "".join(generate(model.exact(), n, prime, seed, ["\n" * 5], choice=Choice(**choice)))


def test_the_file_is_openapi_and_every_example_of_a_schema_is_one():
    assert OPENAPI["openapi"].startswith("3.1")
    for schema in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
        for field in schema.get("properties", {}).values():
            if "default" in field:
                conforms(field["default"], field)


def test_every_route_is_in_the_file_and_the_other_way_round(client):
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in PAGES
    }
    described = {
        (path, method)
        for path, methods in OPENAPI["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert served == described


def test_whole(ask, model):
    asked = {"prime": "山中", "length": 80, "seed": 5, "temperature": 0.7, "top_k": 9, "stream": False}
    answer = ask("POST", "/api/generate", asked).json
    expected = sampled(model, 80, "山中", 5, temperature=0.7, top_k=9)
    assert answer == {"model": "toy", "seed": 5, "from": 0, "text": expected, "reason": "length"}
    assert ask("POST", "/api/generate", asked | {"from": 33}).json["text"] == expected[33:]
    details = ask("POST", "/api/generate", asked | {"alternatives": True, "from": 70}).json["details"]
    assert len(details) == 10


def test_as_events(ask, model):
    told = events(ask("POST", "/api/generate", {"length": 300, "seed": 5, "alternatives": True}))
    assert told.text == sampled(model, 300, seed=5)
    assert len(told.details) == 300
    (first, at, begin), *texts, (last, end, why) = told.all
    assert (first, at, begin["model"], begin["seed"]) == ("begin", 0, "toy", 5)
    assert (last, end, why) == ("end", 300, {"reason": "length"})
    length = 0
    for name, number, data in texts:
        length += len(data["text"])
        assert (name, number) == ("text", length)


def test_reading_on(ask, model):
    begin = events(ask("POST", "/api/generate", {"length": 200, "seed": 3})).all[0][2]
    path, route, whole = f"/api/generate/{begin['job']}", "/api/generate/{job}", sampled(model, 200, seed=3)
    for known in (0, 1, 77, 200):
        told = events(ask("GET", path, route=route, headers={"Last-Event-ID": str(known)}))
        assert told.text == whole[known:]
        assert told.all[-1] == ("end", 200, {"reason": "length"})
    for wrong in ("-1", "x", "1.5", str(2**31), "9" * 5000):
        response = ask("GET", path, route=route, headers={"Last-Event-ID": wrong})
        assert response.status_code == 400
    assert ask("GET", "/api/generate/none", route=route).status_code == 404
    assert ask("DELETE", path, route=route).status_code == 204
    assert ask("DELETE", "/api/generate/none", route=route).status_code == 204


def test_what_else_can_be_got(ask):
    (model,) = ask("GET", "/api/models").json["models"]
    assert (model["name"], model["vocabulary"]) == ("toy", CHARACTERS)
    assert ask("GET", "/healthz").json == {"status": "ok", "models": 1}
    assert ask("GET", "/api/openapi.json").json == OPENAPI
    ask("POST", "/api/generate", {"length": 30, "stream": False})
    said = ask("GET", "/metrics").text
    assert 'minichar_requests_total{route="/api/generate",status="200"} 1.0' in said
    assert "minichar_characters_total 30.0" in said
    assert "minichar_first_character_seconds_count 1.0" in said
    assert 'minichar_texts{state="waiting"} 0.0' in said


def test_as_the_old_page_asks(ask, model):
    sid = ask("POST", "/api", {"primetext": "山☃中", "temperature": "0.7", "seed": "5"}).json["sid"]
    answer = patiently(lambda: (said := ask("POST", "/res", {"sid": sid}).json["responds"]) != "0" and said)
    assert answer == "山☃中" + sampled(model, 1000, "山中", 5, temperature=0.7) + "……"
    assert ask("POST", "/res", {"sid": "none"}).json["responds"] == "0"
    assert ask("POST", "/res", {"sid": 7}).json["responds"] == "0"
    for wrong in ({}, {"primetext": 1}, {"primetext": "", "seed": "x"}, {"primetext": "", "temperature": 99}):
        assert ask("POST", "/api", wrong).status_code == 400


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": b"", "content_type": "application/json"}, 400),
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"[]", "content_type": "application/json"}, 400),
        ({"data": b"null", "content_type": "application/json"}, 400),
        ({"data": b"[" * 60000, "content_type": "application/json"}, 400),
        ({"data": b'{"length": NaN}', "content_type": "application/json"}, 400),
        ({"data": b'{"length": 1e999}', "content_type": "application/json"}, 400),
        ({"data": b'{"seed": ' + b"9" * 6000 + b"}", "content_type": "application/json"}, 400),
        ({"data": b'{"prime": "\xff\xfe"}', "content_type": "application/json"}, 400),
        ({"data": b'{"model": "../../etc/passwd"}', "content_type": "application/json"}, 400),
        ({"data": b"{}" + b" " * 70000, "content_type": "application/json"}, 413),
        ({"data": b"{}"}, 415),
        ({"data": b"{}", "content_type": "text/plain"}, 415),
    ],
)
def test_a_body_that_is_none(ask, options, status):
    for path in ("/api/generate", "/api", "/res"):
        response = ask("POST", path, **options)
        if path == "/api/generate" or response.status_code != 200:  # the old routes look at fewer fields
            assert response.status_code == status
        if response.status_code != 200:
            assert "\n" not in response.json["error"]


def test_the_policy_lets_in_nothing_but_what_comes_from_here(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert set(directives.values()) <= {"'self'", "'none'"}
    assert directives.keys() >= {"base-uri", "form-action", "frame-ancestors"}


def test_other_methods_and_paths(client):
    assert client.get("/api/generate").status_code == 405
    assert client.post("/healthz").status_code == 405
    for path in ("/page/../app.py", "/..%2f..%2fapp.py", "/page.js/", "/nothing", "//etc/passwd"):
        response = client.get(path)
        assert response.status_code in (404, 308)
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", sorted(PAGES))
def test_the_page_needs_nothing_from_elsewhere(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    content = response.text.replace("http://www.w3.org/2000/svg", "")
    for outside in ("://", '"//', "'//", "`//", "(//", "@import"):
        assert outside not in content
    for unsafe in ("onclick", "style=", "eval(", "innerHTML", "insertAdjacentHTML", "document.write"):
        assert unsafe not in content


def test_a_full_server(client):
    """The desk has 8 columns, and 4 more may wait."""
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(12)]
    refused = client.post("/api/generate", json={})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    for response in held:
        job = json.loads(next(response.response).decode().partition("data: ")[2])["job"]
        assert client.delete(f"/api/generate/{job}").status_code == 204
        response.close()
    patiently(lambda: client.post("/api/generate", json={"length": 5}).status_code == 200)


def test_a_text_that_ended_long_ago_is_forgotten(client, monkeypatch):
    first, second = (events(client.post("/api/generate", json={"length": 5})).all[0][2]["job"] for _ in "ab")
    assert client.get(f"/api/generate/{first}").status_code == 200
    monkeypatch.setattr("minichar.web.desk.KEPT", 0)
    assert client.post("/api/generate", json={"length": 5}).status_code == 200
    for job in (first, second):
        assert client.get(f"/api/generate/{job}").status_code == 404


class Refusing(Desk):
    """Has one model, and refuses."""

    def __init__(self, models, error):
        self.infos, self.error = models, error

    def models(self):
        if self.infos is None:
            raise self.error
        return self.infos

    def submit(self, request):
        self.choose(request)
        raise self.error

    def request(self, job):
        raise self.error

    follow = cancel = request

    def loads(self):
        raise self.error

    def close(self):
        pass


@pytest.mark.parametrize("error", [Busy("full"), Unavailable("nobody")])
def test_a_refusal_says_when_to_come_again(desk, error):
    client = make_app(Refusing(desk.models(), error)).test_client()
    response = client.post("/api/generate", json={})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json == {"error": str(error)}
    assert client.post("/api", json={"primetext": ""}).json == {"sid": 0}
    assert client.get("/metrics").status_code == 200
    client = make_app(Refusing(None, error)).test_client()
    health = client.get("/healthz")
    assert (health.status_code, health.json) == (503, {"status": "unavailable", "models": 0})
    client = make_app(Refusing([], error)).test_client()
    assert "no worker" in client.post("/api/generate", json={}).json["error"]


def test_a_visitor_has_a_limit(desk):
    """He may ask again when a request has ended, was refused, or was left."""
    client = make_app(desk, per_client=2).test_client()
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(2)]
    for response in held:
        next(response.response)
    third = client.post("/api/generate", json={})
    assert (third.status_code, third.headers["Retry-After"]) == (429, "2")
    assert "2 requests" in third.json["error"]
    held[0].close()
    for _ in range(5):
        assert client.post("/api/generate", json={"length": 5, "stream": False}).status_code == 200
        assert client.post("/api/generate", json={"length": -5}).status_code == 400
    assert client.post("/api/generate", json={"length": 5}, environ_base={"REMOTE_ADDR": "10.0.0.9"}).data
    held[1].close()


def test_an_error_in_the_making_is_told(desk, monkeypatch):
    damaged, taken_over = Piece("", [], 2, "error", "damaged"), Piece("", [], 2, restarted=True)
    pieces = [None, Piece("ab", [], 2), taken_over, damaged]
    monkeypatch.setattr(desk, "follow", lambda job, after: iter(pieces))
    client = make_app(desk).test_client()
    told = events(client.post("/api/generate", json={"seed": 1}))
    assert [(name, data) for name, _, data in told.all[1:]] == [
        ("text", {"text": "ab"}),
        ("notice", {"what": "restarted"}),
        ("end", {"reason": "error", "error": "damaged"}),
    ]
    whole = client.post("/api/generate", json={"seed": 1, "stream": False}).json
    assert (whole["text"], whole["reason"], whole["error"]) == ("ab", "error", "damaged")
