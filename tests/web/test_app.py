"""Test the application against ``openapi.json``."""

import re
import sys
from urllib.parse import urlencode

import pytest
from optional import free_port
from web_helpers import (
    CHARACTERS,
    MEMORY,
    Client,
    InstantQueue,
    client_of,
    events_of,
    validate,
    wait_for,
)

from minichar.web import legacy
from minichar.web.access import Access
from minichar.web.app import create_app
from minichar.web.errors import Busy, Unavailable
from minichar.web.models import describe
from minichar.web.plain import MAX_PROMPT
from minichar.web.queue import JobQueue
from minichar.web.request import OPENAPI
from minichar.web.static import PAGE

jsonschema = pytest.importorskip("jsonschema")


def test_schemas_and_their_defaults_are_valid():
    assert OPENAPI["openapi"].startswith("3.1")
    for schema in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
        for field in schema.get("properties", {}).values():
            if "default" in field:
                validate(field["default"], field)


def test_openapi_lists_exactly_the_existing_routes(queue):
    served = {
        (route.path, method.lower())
        for route in create_app(queue, Access(), 0, 0)._app.routes
        for method in route.methods - {"HEAD"}
        if route.path not in PAGE
    }
    described = {
        (path, method)
        for path, methods in OPENAPI["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert served == described


def test_generating_text_as_one_document(send, sampled):
    data = {"prime": "山中", "length": 80, "seed": 5, "temperature": 0.7, "top_k": 9, "stream": False}
    expected = sampled(80, "山中", temperature=0.7, top_k=9)
    response = send("POST", "/api/generate", data).json
    assert response == {"model": "toy", "seed": 5, "from": 0, "text": expected, "reason": "length"}
    assert send("POST", "/api/generate", data | {"from": 33}).json["text"] == expected[33:]
    details = send("POST", "/api/generate", data | {"alternatives": True, "from": 70}).json["details"]
    assert len(details) == 10


def test_generating_text_as_events(send, sampled):
    events = events_of(send("POST", "/api/generate", {"length": 300, "seed": 5, "alternatives": True}))
    assert events.text == sampled(300)
    assert len(events.details) == 300
    (first, at, begin), *texts, (last, end, why) = events.all
    assert (first, at, begin["model"], begin["seed"]) == ("begin", 0, "toy", 5)
    assert (last, end, why) == ("end", 300, {"reason": "length"})
    length = 0
    for name, number, data in texts:
        length += len(data["text"])
        assert (name, number) == ("text", length)


def test_resuming_with_last_event_id(send, sampled):
    begin = events_of(send("POST", "/api/generate", {"length": 200, "seed": 5})).all[0][2]
    path, route, whole = f"/api/generate/{begin['job']}", "/api/generate/{job}", sampled(200)
    for n in (0, 1, 77, 200):
        events = events_of(send("GET", path, route=route, headers={"Last-Event-ID": str(n)}))
        assert events.text == whole[n:]
        assert events.all[-1] == ("end", 200, {"reason": "length"})
    begin = events_of(send("POST", "/api/generate", {"length": 200, "seed": 5, "from": 120})).all[0][2]
    late = send("GET", f"/api/generate/{begin['job']}", route=route, headers={"Last-Event-ID": "7"})
    assert events_of(late).all[0][2]["from"] == 120
    assert events_of(late).text == whole[120:]
    for invalid in ("-1", "x", "1.5", str(2**31), "9" * 5000):
        response = send("GET", path, route=route, headers={"Last-Event-ID": invalid})
        assert response.status_code == 400
        assert "Last-Event-ID" in response.json["error"]
    assert send("GET", "/api/generate/none", route=route).status_code == 404
    assert send("DELETE", path, route=route).status_code == 204
    assert send("DELETE", "/api/generate/none", route=route).status_code == 204


def test_models_and_health(send):
    (model,) = send("GET", "/api/models").json["models"]
    assert (model["name"], model["vocabulary"]) == ("toy", CHARACTERS)
    assert send("GET", "/healthz").json == {"status": "ok"}
    wait_for(lambda: send("GET", "/readyz").json == {"status": "ready"})
    assert send("GET", "/api/openapi.json").json == OPENAPI
    assert "--metrics-port" in send("GET", "/metrics").json["error"]  # they are not published without a key


def test_metrics_have_a_port_of_their_own_or_require_a_key(queue):
    """A proxy that forwards all paths must not publish them."""
    port = free_port()
    with client_of(queue, metrics=port, keys=["secret"]) as client:
        key = {"Authorization": "Bearer secret"}
        client.post("/api/generate", json={"length": 30, "stream": False}, headers=key)
        assert client.get("/metrics").status_code == 401
        texts = [client.get("/metrics", headers=key).text, Client(port).get("/metrics").text]
        with Client(port).get("/metrics", headers={"Host": "minichar.internal"}) as response:
            assert response.status_code == 200
        with Client(port).get("/api/models") as response:
            assert response.status_code == 401
    for metrics in texts:
        assert 'minichar_requests_total{route="/api/generate",status="200"} 1.0' in metrics
        assert "minichar_characters_total 30.0" in metrics
        assert "minichar_first_character_seconds_count 1.0" in metrics
        assert 'minichar_jobs{state="waiting"} 0.0' in metrics
        if sys.platform == "linux":
            for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
                assert float(re.search(rf"^process_{name} (.+)$", metrics, re.MULTILINE)[1]) > 0


def test_legacy_routes(send, sampled, monkeypatch):
    """UTF-8 cannot encode the first character of the prompt."""
    prompt = "\ud800山☃中"
    sid = send("POST", "/api", {"primetext": prompt, "temperature": "0.7", "seed": "5"}).json["sid"]

    def poll(sid):
        responds = send("POST", "/res", {"sid": sid}).json["responds"]
        return responds != "0" and responds

    assert wait_for(lambda: poll(sid)) == prompt + sampled(1000, "山中", temperature=0.7) + "……"
    monkeypatch.setattr(legacy, "STOP", ["山"])
    sid = send("POST", "/api", {"primetext": "", "temperature": "0.7", "seed": "5"}).json["sid"]
    assert wait_for(lambda: poll(sid)) == sampled(1000, stop=["山"], temperature=0.7)
    assert send("POST", "/res", {"sid": "none"}).json["responds"] == "0"
    assert send("POST", "/res", {"sid": 7}).json["responds"] == "0"
    for temperature in ("0.05", ".5", "9.99", "10", "10.0", 1e0):
        assert send("POST", "/api", {"primetext": "", "temperature": temperature}).status_code == 200
    wrong = [{"temperature": value} for value in ("nan", "0.01", 10**400, 99)]
    for fields in (*wrong, {"seed": "x"}, {"primetext": 1}):
        assert send("POST", "/api", {"primetext": ""} | fields).status_code == 400


INVALID_BODIES = {
    400: (
        *(b"", b"[]", b"[" * 60000, b'{"temperature": NaN}', b'{"length": 1e999}', b'{"prime": "\xff\xfe"}'),
        b'{"seed": ' + b"9" * 6000 + b"}",
    ),
    404: (b'{"model": "../../etc/passwd"}',),
    409: ('{"prime": "☃"}'.encode(),),
    413: (b"{}" + b" " * 70000,),
}


def test_invalid_bodies_are_rejected_with_one_line_errors(send):
    for status, bodies in INVALID_BODIES.items():
        for body in bodies:
            response = send("POST", "/api/generate", data=body, content_type="application/json")
            assert response.status_code == status
            assert "\n" not in response.json["error"]
    for path in ("/api/generate", "/api", "/res"):
        for content_type in (None, "text/plain"):  # which forms of other sites may have
            assert send("POST", path, data=b"{}", content_type=content_type).status_code == 415
        assert send("POST", path, data=b"{", content_type="application/json").status_code == 400


def test_an_error_may_name_a_field_that_utf_8_cannot_encode(client):
    response = client.post("/api/generate", json={"bias": {"\ud800": 1000}})
    assert response.status_code == 400
    assert "\ud800" in response.json["error"]


def test_unknown_methods_and_paths_are_rejected(client):
    for path, methods in (
        ("/api/generate", "POST"),
        ("/healthz", "GET HEAD"),
        ("/api/generate/x", "DELETE GET HEAD"),
    ):
        refused = client.open(path, "PUT")
        assert refused.status_code == 405
        assert " ".join(sorted(refused.headers["Allow"].split(", "))) == methods
    for path in ("/page/../app.py", "/..%2f..%2fapp.py", "/page.js/", "/nothing", "/./etc/passwd"):
        response = client.get(path)
        assert response.status_code in (404, 308)
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_page_without_javascript(send):
    page = send("GET", "/plain?prime=%E5%B1%B1%E2%98%83%3Cb%3E&temperature=1", route="/plain").text
    assert "山☃&lt;b&gt;" in page
    assert "<b>" not in page
    assert 'class="error"></p>' in page
    assert '<option value="1" selected>1</option>' in page
    broken = "a%0D%0A" * 400  # browsers send a line break as two characters
    assert "a\n" * 400 in send("GET", f"/plain?prime={broken}", route="/plain").text
    rejected = {
        "model=none": (404, "no model named &#x27;none&#x27;", "该模型不存在"),
        "temperature=2": (400, "temperature must be one of", "表单内容无效"),
        "prime=" + "a" * 801: (400, "prime is longer than 800 characters", "表单内容无效"),
    }
    for query, (status, *messages) in rejected.items():
        response = send("GET", f"/plain?{query}", route="/plain")
        assert response.status_code == status
        assert all(message in response.text for message in messages)
        assert '<option value="toy">' in response.text
    rejected = send("GET", "/plain?model=none&temperature=1.2&prime=a<", route="/plain").text
    assert '<option value="1.2" selected>' in rejected
    assert '">a&lt;</span>' in rejected


@pytest.mark.parametrize(("site", "starts"), [("cross-site", 0), ("same-origin", 1)])
def test_a_link_from_another_site_starts_nothing(model, site, starts):
    """It shows the form, so that the visitor can start it."""
    queue = InstantQueue(model)
    with client_of(queue) as client:
        page = client.get("/plain?prime=abc", headers={"Sec-Fetch-Site": site})
        assert page.data
    assert (page.status_code, len(queue.texts)) == (200, starts)
    assert ">\nabc</textarea>" in page.text


def test_the_address_of_a_long_prompt_is_not_too_long_for_nginx(client):
    """All forms have the same limit."""
    forms = [client.get(path).text.split('name="prime"')[1] for path in ("/", "/plain")]
    schema = OPENAPI["paths"]["/plain"]["get"]["parameters"][0]["schema"]
    limits = [int(re.search(r'maxlength="(\d+)"', form)[1]) for form in forms]
    assert [*limits, schema["maxLength"]] == [MAX_PROMPT] * 3
    query = urlencode({"model": "m" * 200, "prime": "山" * MAX_PROMPT, "temperature": "0.8"})
    assert len(f"GET /minichar/plain?{query} HTTP/1.1\r\n") < 8192


class FailingQueue(JobQueue):
    """Job queue whose methods all raise an error, except `models` if models are given."""

    def __init__(self, models, error):
        super().__init__(1, MEMORY)
        self.infos, self.error = models, error

    async def models(self):
        if self.infos is None:
            raise self.error
        return self.infos

    async def fail(self, *arguments):
        raise self.error

    _columns = _unfinished = _waiting = _give = _find = _cancel = _abandon = job_counts = fail


@pytest.mark.parametrize("error", [Busy("full"), Unavailable("no Redis")])
def test_busy_responses_include_retry_after(queue, model, error):
    with client_of(FailingQueue([describe("toy", model)], error), keys=["secret"]) as client:
        key = {"headers": {"Authorization": "Bearer secret"}}
        requests = [
            client.post("/api/generate", json={}, **key),
            client.get("/api/generate/x", **key),
            client.delete("/api/generate/x", **key),
            client.post("/res", json={"sid": "x"}, **key),
            client.get("/readyz"),
        ]
        assert client.post("/api", json={"primetext": ""}, **key).json == {"sid": 0}
        assert client.get("/metrics", **key).status_code == 200
        assert client.get("/healthz").json == {"status": "ok"}  # restarting the server would not help
        for response in requests:
            assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
            assert response.json["error"] == str(error)
            assert response.json.get("code") == error.code
    with client_of(FailingQueue(None, error)) as client:
        assert client.get("/api/models").status_code == 503
    with client_of(FailingQueue([], error)) as client:
        assert "no worker" in client.post("/api/generate", json={}).json["error"]
