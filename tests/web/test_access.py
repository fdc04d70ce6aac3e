"""Test who may use a server: the Host header and API keys."""

from types import SimpleNamespace

import pytest
from web_helpers import LONG, client_of, wait_for

from minichar import MinicharError
from minichar.web.access import read_keys


def test_host_header(queue):
    """A page of another site must not be able to use a server on this machine under its own name."""
    allowed = (
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:80",
        "[::1]:8080",
        "192.168.1.9",
        "demo.example.org:443",
    )
    with client_of(queue, hosts=["Demo.example.org"]) as client:
        for host in allowed:
            assert client.get("/", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "demo.example.org.evil", "localhost.evil:80", "127.0.0.1.evil"):
            for path in ("/", "/plain"):
                response = client.get(path, headers={"Host": host})
                assert response.status_code == 400
                assert "--allow-host" in response.json["error"]
    with client_of(queue, hosts=["*"]) as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 200


def test_api_keys(queue, tmp_path, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("minichar.web.access.asyncio", SimpleNamespace(sleep=sleep))
    (tmp_path / "keys").write_text("secret\nother\n\n")
    with client_of(queue, per_client=1, keys=read_keys(tmp_path / "keys")) as client:
        for path in ("/", "/page.js", "/healthz", "/readyz"):
            wait_for(lambda path=path: client.get(path).status_code == 200)
        wrong = ("Bearer x", "Basic c2VjcmV0", "Bearer", "é")
        for headers in ({}, *({"Authorization": value} for value in wrong)):
            for method, path in (
                ("GET", "/api/models"),
                ("POST", "/api"),
                ("POST", "/res"),
                ("GET", "/plain"),
                ("GET", "/api/generate/x"),
                ("GET", "/metrics"),
            ):
                response = client.open(path, method=method, headers=headers)
                assert response.status_code == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert "API key" in response.json["error"]
        assert slept == [1.0] * 6  # only a wrong key is a guess
        for key, status in (("secret", 200), ("secret", 429), ("other", 200)):
            response = client.post("/api/generate", json=LONG, headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == status


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((content, "keys") for content in (None, b"", b" \n", b"\xff")),
        (
            "one\nschlüssel\n".encode(),
            "keys contains an API key that is not ASCII: use",
        ),  # encoded differently
    ],
)
def test_key_files_without_keys_that_clients_can_send(tmp_path, content, words):
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(MinicharError, match=words) as caught:
        read_keys(tmp_path / "keys")
    assert "schl" not in str(caught.value)
