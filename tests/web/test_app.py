"""Test the application against ``openapi.json``."""

import gzip
import json
import re
import sys
import tracemalloc
from urllib.parse import urlencode

import pytest
from web_helpers import CHARACTERS, events_of, validate, wait_for

from minichar import MinicharError
from minichar.web.app import HEADERS, create_app
from minichar.web.completions import Completion
from minichar.web.delivery import BUILDING, PART
from minichar.web.details import Details
from minichar.web.job import Busy, Job, Update
from minichar.web.jobs import OVERHEAD, Jobs, cost
from minichar.web.keys import read_keys
from minichar.web.plain import MAX_PROMPT
from minichar.web.queue import JobQueue, LocalQueue, Unavailable
from minichar.web.request import OPENAPI, Request
from minichar.web.static import PAGE

jsonschema = pytest.importorskip("jsonschema")


def test_schemas_and_their_defaults_are_valid():
    assert OPENAPI["openapi"].startswith("3.1")
    for schema in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
        for field in schema.get("properties", {}).values():
            if "default" in field:
                validate(field["default"], field)


def test_openapi_lists_exactly_the_existing_routes(client):
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in PAGE
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


def test_models_health_and_metrics(send):
    (model,) = send("GET", "/api/models").json["models"]
    assert (model["name"], model["vocabulary"]) == ("toy", CHARACTERS)
    assert send("GET", "/healthz").json == {"status": "ok", "models": 1}
    assert send("GET", "/api/openapi.json").json == OPENAPI
    send("POST", "/api/generate", {"length": 30, "stream": False})
    metrics = send("GET", "/metrics").text
    assert 'minichar_requests_total{route="/api/generate",status="200"} 1.0' in metrics
    assert "minichar_characters_total 30.0" in metrics
    assert "minichar_first_character_seconds_count 1.0" in metrics
    assert 'minichar_jobs{state="waiting"} 0.0' in metrics
    if sys.platform == "linux":
        for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
            assert float(re.search(rf"^process_{name} (.+)$", metrics, re.MULTILINE)[1]) > 0


def test_legacy_routes(send, sampled):
    sid = send("POST", "/api", {"primetext": "山☃中", "temperature": "0.7", "seed": "5"}).json["sid"]

    def poll():
        responds = send("POST", "/res", {"sid": sid}).json["responds"]
        return responds != "0" and responds

    assert wait_for(poll) == "山☃中" + sampled(1000, "山中", temperature=0.7) + "……"
    assert send("POST", "/res", {"sid": "none"}).json["responds"] == "0"
    assert send("POST", "/res", {"sid": 7}).json["responds"] == "0"
    for temperature in ("0.05", ".5", "1", "9.99", "10", "10.0", 1e0):
        assert send("POST", "/api", {"primetext": "", "temperature": temperature}).status_code == 200
    for invalid in (
        {},
        {"primetext": 1},
        {"primetext": "", "seed": "x"},
        {"primetext": "", "temperature": "nan"},
        {"primetext": "", "temperature": "0.01"},
        {"primetext": "", "temperature": 10**400},
        {"primetext": "", "temperature": 99},
    ):
        assert send("POST", "/api", invalid).status_code == 400


JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": b""} | JSON, 400),
        ({"data": b"{"} | JSON, 400),
        ({"data": b"[]"} | JSON, 400),
        ({"data": b"null"} | JSON, 400),
        ({"data": b"[" * 60000} | JSON, 400),
        ({"data": b'{"length": NaN}'} | JSON, 400),
        ({"data": b'{"length": 1e999}'} | JSON, 400),
        ({"data": b'{"seed": ' + b"9" * 6000 + b"}"} | JSON, 400),
        ({"data": b'{"prime": "\xff\xfe"}'} | JSON, 400),
        ({"data": b'{"model": "../../etc/passwd"}'} | JSON, 404),
        ({"data": '{"prime": "☃"}'.encode()} | JSON, 409),
        ({"data": b"{}" + b" " * 70000} | JSON, 413),
        ({"data": b"{}"}, 415),
        ({"data": b"{}", "content_type": "text/plain"}, 415),
    ],
)
def test_invalid_bodies_are_rejected_with_one_line_errors(send, options, status):
    for path in ("/api/generate", "/api", "/res"):
        response = send("POST", path, **options)
        # In the legacy routes, other fields are required.
        assert response.status_code == status or (path != "/api/generate" and response.status_code == 400)
        assert "\n" not in response.json["error"]


def test_content_security_policy_allows_only_this_server(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert set(directives.values()) <= {"'self'", "'none'"}
    assert directives.keys() >= {"base-uri", "form-action", "frame-ancestors"}


def test_unknown_methods_and_paths_are_rejected(client):
    assert client.get("/api/generate").status_code == 405
    assert client.post("/healthz").status_code == 405
    for path in ("/page/../app.py", "/..%2f..%2fapp.py", "/page.js/", "/nothing", "/./etc/passwd"):
        response = client.get(path)
        assert response.status_code in (404, 308)
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", sorted(PAGE))
def test_page_loads_nothing_from_other_servers(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    content = response.text.replace("http://www.w3.org/2000/svg", "")
    for external in ("://", '"//', "'//", "`//", "(//", "@import"):
        assert external not in content
    for unsafe in ("onclick", "style=", "eval(", "innerHTML =", "insertAdjacentHTML", "document.write"):
        assert unsafe not in content


@pytest.mark.parametrize("path", sorted(PAGE))
def test_the_page_is_compressed_and_cached(client, path):
    plain = client.get(path)
    small = client.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < len(plain.data) or path == "/icon.svg"
    assert plain.headers["ETag"] != small.headers["ETag"]
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "gzip;q=0"}).headers
    for response, encoding in ((plain, "identity"), (small, "gzip")):
        assert (response.headers["Cache-Control"], response.headers["Vary"]) == (
            "no-cache",
            "Accept-Encoding",
        )
        assert (HEADERS | {"Cache-Control": "no-cache"}).items() <= dict(response.headers).items()
        headers = {"If-None-Match": response.headers["ETag"], "Accept-Encoding": encoding}
        cached = client.get(path, headers=headers)
        assert (cached.status_code, cached.data) == (304, b"")
        assert cached.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_both_languages_define_all_strings(client):
    """Both languages have the same keys and placeholders, and every key in use exists."""
    languages = [
        dict(re.findall(r'^    (\w+): "(.*)",$', part, re.MULTILINE))
        for part in client.get("/words.js").text.split("  zh: {")
    ]
    placeholders = [{k: set(re.findall(r"{\w+}", v)) for k, v in words.items()} for words in languages]
    assert placeholders[0] == placeholders[1]
    page = "".join(client.get(path).text for path in PAGE)
    used = re.findall(r'data-(?:word|placeholder|label)="(\w+)"', page)
    used += re.findall(r'(?:\bt|set(?:Status|Error))\("(\w+)"', page)
    assert {"output", "invalid"} <= set(used)
    assert set(used) <= languages[0].keys()


def test_page_without_javascript(send):
    page = send("GET", "/plain?prime=%E5%B1%B1%E2%98%83%3Cb%3E&temperature=1", route="/plain").text
    assert "山☃&lt;b&gt;" in page
    assert "<b>" not in page
    assert '<option value="1" selected>1</option>' in page
    broken = "a%0D%0A" * 400  # browsers send a line break as two characters
    assert "a\n" * 400 in send("GET", f"/plain?prime={broken}", route="/plain").text
    rejected = {
        "model=none": (404, "no model named &#x27;none&#x27;"),
        "temperature=2": (400, "temperature must be one of"),
        "prime=" + "a" * 801: (400, "prime is longer than 800 characters"),
    }
    for query, (status, message) in rejected.items():
        response = send("GET", f"/plain?{query}", route="/plain")
        assert response.status_code == status
        assert message in response.text
        assert '<option value="toy">' in response.text
    rejected = send("GET", "/plain?model=none&temperature=1.2&prime=a<", route="/plain").text
    assert '<option value="1.2" selected>' in rejected
    assert '">a&lt;</span>' in rejected


def test_the_address_of_a_long_prompt_is_not_too_long_for_nginx(client):
    """All forms have the same limit."""
    forms = [client.get(path).text.split('name="prime"')[1] for path in ("/", "/plain")]
    schema = OPENAPI["paths"]["/plain"]["get"]["parameters"][0]["schema"]
    limits = [int(re.search(r'maxlength="(\d+)"', form)[1]) for form in forms]
    assert [*limits, schema["maxLength"]] == [MAX_PROMPT] * 3
    query = urlencode({"model": "m" * 200, "prime": "山" * MAX_PROMPT, "temperature": "0.8"})
    assert len(f"GET /minichar/plain?{query} HTTP/1.1\r\n") < 8192


def test_full_queue_returns_503(client):
    """The queue accepts 8 running and 4 waiting jobs."""
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(12)]
    rejected = client.post("/api/generate", json={})
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "2")
    page = client.get("/plain")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (503, "text/html", "2")
    assert "try again later" in page.text
    for response in held:
        job = json.loads(next(response.response).decode().partition("data: ")[2])["job"]
        assert client.delete(f"/api/generate/{job}").status_code == 204
        response.close()
    wait_for(lambda: client.post("/api/generate", json={"length": 5}).status_code == 200)


def test_a_queue_can_be_closed_while_it_receives_a_request(model, monkeypatch):
    queue = LocalQueue({"one": model, "two": model}, columns=8, queue=4, pace=5000)
    queue.submit(Request.from_json({"model": "one"}))
    one = queue._schedulers["one"]

    def close(close=one.close):
        queue.submit(Request.from_json({"model": "two"}))
        close()

    monkeypatch.setattr(one, "close", close)
    queue.close()
    queue._schedulers["two"].close()


def test_a_waiting_job_reports_its_position(client, queue):
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(8)]
    wait_for(lambda: queue.job_counts()["running"] == 8)
    for position in (1, 2):
        waiting = client.post("/api/generate", json={"length": 5})
        held.append(waiting)
        begin, notice = (next(waiting.response).decode() for _ in range(2))
        assert begin.startswith("event: begin")
        data = json.loads(notice.partition("event: notice\nid: 0\ndata: ")[2])
        assert data == {"what": "waiting", "position": position}
        validate(data, {"$ref": "#/components/schemas/Notice"})
    for response in held:
        response.close()


def test_ended_jobs_expire(client, monkeypatch):
    first, second = (
        events_of(client.post("/api/generate", json={"length": 5})).all[0][2]["job"] for _ in "ab"
    )
    assert client.get(f"/api/generate/{first}").status_code == 200
    monkeypatch.setattr("minichar.web.jobs.KEEP", 0)
    assert client.post("/api/generate", json={"length": 5}).status_code == 200
    for job in (first, second):
        assert client.get(f"/api/generate/{job}").status_code == 404


def ask(jobs, model, **fields):
    request = Request.from_json(fields)
    return jobs.add(Job(request, request.stream(model.vocabulary)))


def test_ended_jobs_are_removed_oldest_first_when_the_memory_is_used_up(model):
    jobs = Jobs(cost(Request.from_json({"alternatives": True}), 900) + 3 * OVERHEAD)
    first, second, third = (ask(jobs, model, length=300, alternatives=True) for _ in range(3))
    with pytest.raises(Busy, match="long texts"):
        ask(jobs, model, length=300, alternatives=True)
    jobs[second].append("a" * 300)
    jobs[second].publish()
    for job_id in (second, first, third):
        jobs[job_id].finish("length")
    jobs[second].news(0)  # most recently read
    fourth = ask(jobs, model, length=100, alternatives=True)
    assert all(map(jobs.get, (first, second, third, fourth)))
    fifth = ask(jobs, model, length=600, alternatives=True)
    assert not any(map(jobs.get, (first, third)))
    assert all(map(jobs.get, (second, fourth, fifth)))
    jobs.close()


def test_ended_jobs_with_alternatives_expire_without_further_requests(model, monkeypatch):
    monkeypatch.setattr("minichar.web.jobs.EXPIRE_INTERVAL", 0.02)
    monkeypatch.setattr("minichar.web.jobs.KEEP_ALTERNATIVES", 0.05)
    returned = []
    monkeypatch.setattr("minichar.web.jobs.return_memory", lambda: returned.append(set(jobs._jobs)))
    jobs = Jobs(2**20)
    running, large, small = (ask(jobs, model, alternatives=wanted) for wanted in (True, True, False))
    for ended in (large, small):
        jobs[ended].finish("length")
    wait_for(lambda: returned)
    assert returned == [{running, small}]
    jobs.close()


def test_alternatives_take_little_memory(client, queue):
    response = client.post("/api/generate", json={"length": 2000, "alternatives": True, "stop": []})
    job = queue._jobs[events_of(response).all[0][2]["job"]]
    tracemalloc.start()
    copy = job.news(0)
    assert tracemalloc.get_traced_memory()[0] < 2000 * 60
    tracemalloc.stop()
    assert len(list(copy.details)) == 2000


def test_alternatives_are_unpacked_in_pieces(send):
    """Otherwise, 16 readers of one long text would need 400 MB."""
    data = {"length": 1300, "alternatives": True, "stop": [], "seed": 5}
    whole = events_of(send("POST", "/api/generate", data))
    path = f"/api/generate/{whole.all[0][2]['job']}"
    again = events_of(send("GET", path, route="/api/generate/{job}", headers={"Last-Event-ID": "100"}))
    assert (again.text, again.details) == (whole.text[100:], whole.details[100:])
    assert [(name, end) for name, end, _ in again.all[1:]] == [
        ("text", 600),
        ("text", 1100),
        ("text", 1300),
        ("end", 1300),
    ]


def test_one_document_is_built_at_a_time(client, monkeypatch):
    held = []
    monkeypatch.setattr("minichar.web.app.document", lambda *_: {"held": held.append(BUILDING.locked())})
    monkeypatch.setattr(Completion, "document", lambda *_: {"held": held.append(BUILDING.locked())})
    for path in ("/api/generate", "/v1/completions"):
        assert client.post(path, json={"stream": False}).status_code == 200
    assert held == [True, True]


class FailingQueue(JobQueue):
    """Queue whose methods all raise an error, except `models` if models are given."""

    def __init__(self, models, error):
        self.infos, self.error = models, error

    def models(self):
        if self.infos is None:
            raise self.error
        return self.infos

    def submit(self, request):
        self.resolve(request)
        raise self.error

    def request(self, job_id):
        raise self.error

    follow = cancel = position = leave = request

    def job_counts(self):
        raise self.error

    def close(self):
        pass


@pytest.mark.parametrize("error", [Busy("full"), Unavailable("no Redis")])
def test_busy_responses_include_retry_after(queue, error):
    client = create_app(FailingQueue(queue.models(), error)).test_client()
    requests = [
        client.post("/api/generate", json={}),
        client.get("/api/generate/x"),
        client.delete("/api/generate/x"),
        client.post("/res", json={"sid": "x"}),
        create_app(FailingQueue(None, error)).test_client().get("/api/models"),
    ]
    for response in requests:
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert response.json["error"] == str(error)
        assert response.json.get("code") == error.code
    assert client.post("/api", json={"primetext": ""}).json == {"sid": 0}
    assert client.get("/metrics").status_code == 200
    health = create_app(FailingQueue(None, error)).test_client().get("/healthz")
    assert (health.status_code, health.json) == (503, {"status": "unavailable", "models": 0})
    client = create_app(FailingQueue([], error)).test_client()
    assert "no worker" in client.post("/api/generate", json={}).json["error"]


LONG = {"length": 20000}


def start(client, **environ):
    """Start a stream, and return the response and the id of its job."""
    response = client.post("/api/generate", json=LONG, **environ)
    return response, json.loads(next(response.response).decode().partition("data: ")[2])["job"]


def test_limit_per_client(queue):
    client = create_app(queue, per_client=2).test_client()
    (first, job), (second, _) = start(client), start(client)
    document = {"length": 5, "stream": False}
    third = client.post("/api/generate", json={})
    assert (third.status_code, third.headers["Retry-After"]) == (429, "2")
    assert "2 requests" in third.json["error"]
    first.close()
    client.delete(f"/api/generate/{job}")
    for _ in range(5):  # completed and rejected requests do not count
        assert client.post("/api/generate", json=document, buffered=True).status_code == 200
        assert client.post("/api/generate", json={"length": 5}).data
        assert client.post("/api/generate", json={"length": -5}).status_code == 400
    second.close()


def test_a_job_counts_towards_the_limit_until_it_is_cancelled(queue, monkeypatch):
    """Otherwise, a client could start any number of jobs by repeatedly opening and closing streams."""
    client, document = create_app(queue, per_client=1).test_client(), {"length": 5, "stream": False}
    response, job = start(client)
    response.close()
    assert client.post("/api/generate", json={}).status_code == 429
    resumed = client.get(f"/api/generate/{job}")  # continues to count as one request
    assert resumed.status_code == 200
    assert client.get(f"/api/generate/{job}").status_code == 429
    monkeypatch.setattr("minichar.web.rate_limit.ABANDONED_AFTER", 0.1)
    resumed.close()
    wait_for(lambda: client.post("/api/generate", json=document, buffered=True).status_code == 200)
    client.post("/api/generate", json={"length": 5}).close()  # without reading
    wait_for(lambda: client.post("/api/generate", json=document, buffered=True).status_code == 200)


def test_a_document_counts_towards_the_limit_until_it_has_been_sent(queue):
    client = create_app(queue, per_client=1).test_client()
    sent = client.post("/api/generate", json={"length": 3000, "alternatives": True, "stream": False})
    parts = iter(sent.response)
    assert len(next(parts)) == PART
    assert client.post("/api/generate", json={}).status_code == 429
    page = client.get("/plain")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (429, "text/html", "2")
    assert sum(map(len, parts)) + PART == sent.content_length
    sent.close()
    assert client.post("/api/generate", json={"length": 1, "stream": False}).json["text"]


def test_a_document_that_cannot_be_built_does_not_count(queue, monkeypatch):
    client = create_app(queue, per_client=1).test_client()
    monkeypatch.setattr(Completion, "document", lambda *_: 1 / 0)
    for _ in range(2):
        assert client.post("/v1/completions", json={"max_tokens": 5}).status_code == 500


def test_limit_on_the_legacy_routes(queue, monkeypatch):
    monkeypatch.setattr("minichar.web.legacy.LENGTH", 5000)
    client = create_app(queue, per_client=1).test_client()

    def submit():
        return client.post("/api", json={"primetext": ""})

    first = submit().json["sid"]
    assert submit().status_code == client.post("/api/generate", json={}).status_code == 429
    assert client.post("/res", json={"sid": first}).json["responds"] == "0"
    assert submit().status_code == 429
    wait_for(lambda: client.post("/res", json={"sid": first}).json["responds"] != "0")
    assert submit().status_code == 200
    assert client.post("/res", json={"sid": first}).json["responds"] == "0"  # at the limit
    monkeypatch.setattr(queue, "submit", lambda request: pytest.fail("called"))
    assert submit().status_code == 429


def test_each_client_and_each_ipv6_network_has_its_own_limit(queue):
    client = create_app(queue, per_client=1).test_client()
    held = []
    for address, status in (
        ("10.0.0.1", 200),
        ("10.0.0.2", 200),
        ("10.0.0.1", 429),
        ("2001:db8::1", 200),
        ("2001:db8::f:2", 429),
        ("2001:db8:0:1::1", 200),
        ("::ffff:10.0.0.3", 200),
        ("::ffff:10.0.0.4", 200),
        ("10.0.0.4", 429),
    ):
        held.append(client.post("/api/generate", json=LONG, environ_base={"REMOTE_ADDR": address}))
        assert held[-1].status_code == status
    for response in held:
        response.close()


def test_host_header(queue):
    """A page of another site must not be able to use a server on this machine under its own name."""
    client = create_app(queue, hosts=["Demo.example.org"]).test_client()
    allowed = (
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:80",
        "[::1]:8080",
        "192.168.1.9",
        "demo.example.org:443",
    )
    for host in allowed:
        assert client.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "demo.example.org.evil", "localhost.evil:80", "127.0.0.1.evil"):
        for path in ("/", "/plain"):
            response = client.get(path, headers={"Host": host})
            assert response.status_code == 400
            assert "--allow-host" in response.json["error"]
    client = create_app(queue, hosts=["*"]).test_client()
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 200


def test_api_keys(queue, tmp_path):
    (tmp_path / "keys").write_text("secret\nother\n\n")
    client = create_app(queue, per_client=1, keys=read_keys(tmp_path / "keys")).test_client()
    for path in ("/", "/page.js", "/healthz", "/metrics"):
        assert client.get(path).status_code == 200
    for wrong in ({}, *({"Authorization": value} for value in ("Bearer x", "Basic c2VjcmV0", "Bearer", "é"))):
        for method, path in (
            ("GET", "/api/models"),
            ("POST", "/api"),
            ("POST", "/res"),
            ("GET", "/plain"),
            ("GET", "/api/generate/x"),
        ):
            response = client.open(path, method=method, headers=wrong)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert "API key" in response.json["error"]
    for key, status in (("secret", 200), ("secret", 429), ("other", 200)):
        response = client.post("/api/generate", json=LONG, headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == status


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_key_file_without_keys(tmp_path, content):
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(MinicharError, match="keys"):
        read_keys(tmp_path / "keys")


def test_key_that_clients_cannot_send(tmp_path):
    """Clients do not agree on how to encode it."""
    (tmp_path / "keys").write_text("one\nschlüssel\n", "utf-8")
    with pytest.raises(MinicharError, match="keys contains an API key that is not ASCII: use") as caught:
        read_keys(tmp_path / "keys")
    assert "schl" not in str(caught.value)


def test_any_exception_while_generating_reaches_the_reader(queue, monkeypatch, caplog):
    def fail(job, after):
        yield Update("ab", Details(), 2)
        raise RuntimeError("boom")

    monkeypatch.setattr(queue, "follow", fail)
    last = events_of(create_app(queue).test_client().post("/api/generate", json={})).all[-1]
    assert last == ("end", 2, {"reason": "error", "error": "internal error: see the server log"})
    assert "boom" in caplog.text


def test_failover_notices_and_errors_are_sent_to_the_client(queue, monkeypatch):
    failed, restarted = Update("", Details(), 2, "error", "damaged"), Update("", Details(), 2, restarted=True)
    updates = [None, Update("ab", Details(), 2), restarted, failed]
    monkeypatch.setattr(queue, "follow", lambda job, after: iter(updates))
    monkeypatch.setattr(queue, "position", lambda job: None)
    client = create_app(queue).test_client()
    response = client.post("/api/generate", json={"seed": 1})
    assert b"\n: keep-alive\n\n" in response.data  # reveals whether the client has disconnected
    assert [(name, data) for name, _, data in events_of(response).all[1:]] == [
        ("text", {"text": "ab"}),
        ("notice", {"what": "restarted"}),
        ("end", {"reason": "error", "error": "damaged"}),
    ]
    document = client.post("/api/generate", json={"seed": 1, "stream": False}).json
    assert (document["text"], document["reason"], document["error"]) == ("ab", "error", "damaged")
