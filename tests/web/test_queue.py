"""Test a full queue, a closed queue and waiting jobs."""

import json

from web_helpers import validate, wait_for

from minichar.web.queue import LocalQueue
from minichar.web.request import Request


def test_full_queue_returns_503(client):
    """The queue accepts 8 running and 4 waiting jobs."""
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(12)]
    rejected = client.post("/api/generate", json={})
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "2")
    page = client.get("/plain")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (503, "text/html", "2")
    assert "try again later" in page.text
    assert "请稍后再试" in page.text
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
