"""Test who may use a server, the Host header and API keys, and which client a request counts towards."""

import ipaddress
from types import SimpleNamespace

import pytest
from web_helpers import LONG, client_of, wait_for

from minichar import MinicharError
from minichar.web.access import Access, client_name, read_keys


def test_host_header(queue):
    """A page of another site must not be able to use a server on this machine under its own name."""
    addresses = ("127.0.0.1:80", "[::1]:8080", "192.168.1.9")
    with client_of(queue, hosts=["Demo.example.org"]) as client:
        for host in ("localhost", "LOCALHOST:8080", *addresses, "demo.example.org:443"):
            assert client.get("/", headers={"Host": host}).status_code == 200
        for host in ("evil-demo.example.org", "demo.example.org.evil", "localhost.evil:80", "127.0.0.1.evil"):
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
            for path in ("/api/models", "/api", "/res", "/plain", "/api/generate/x", "/metrics"):
                response = client.open(path, "POST" if path in ("/api", "/res") else "GET", headers=headers)
                assert response.status_code == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert "API key" in response.json["error"]
        assert slept == [1.0] * 6  # only a wrong key is a guess
        for key, status in (("secret", 200), ("secret", 429), ("other", 200)):
            response = client.post("/api/generate", json=LONG, headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == status


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", "one\nschlüssel\n".encode()])
def test_key_files_without_keys_that_clients_can_send(tmp_path, content):
    """Clients encode characters that are not ASCII differently."""
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    words = "an API key that is not ASCII: use" if content and b"one" in content else "keys"
    with pytest.raises(MinicharError, match=words) as caught:
        read_keys(tmp_path / "keys")
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "statuses"),
    [("127.0.0.0/8", [200, 200, 429, 200, 429]), ("127.9.9.9", [200, 429, 429, 429, 429])],
)
def test_clients_behind_a_proxy(queue, proxy, statuses, caplog):
    """If it is not trusted, all its clients count as one, so the operator is told, but only once."""
    headers = ("10.0.0.1", "10.0.0.1, 10.0.0.2", "9.9.9.9, 10.0.0.2", "2001:db8::1", "2001:db8::f:2")
    with client_of(queue, per_client=1, proxy=proxy) as client:
        for header, status in zip(headers, statuses, strict=True):
            response = client.post("/api/generate", json=LONG, headers={"X-Forwarded-For": header})
            assert response.status_code == status
    assert caplog.text.count("127.0.0.1 sends X-Forwarded-For, which is ignored") == (statuses[1] == 429)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ('", 10.0.0.1', "10.0.0.1"),  # only the last address is from the proxy
        ("10.0.0.1:4711", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", str(ipaddress.ip_address("::ffff:192.0.2.1"))),
        *((bad, "127.0.0.1") for bad in ("", '"', "10.0.0.1,", "unknown", "[::1", "[", "1.2.3.4.5", None)),
    ],
)
def test_the_address_of_a_client_behind_a_trusted_proxy(header, address, caplog):
    """A malformed header counts towards the proxy."""
    access = Access(trusted=[ipaddress.ip_network("127.0.0.1")])
    assert access.address("127.0.0.1", header) == address
    assert caplog.text == ""


def test_addresses_in_the_same_ipv6_network_count_as_one_client():
    for addresses, name in (
        (("2001:db8::1", "2001:db8::f:2"), "2001:db8::/64"),
        (("2001:db8:0:1::1",), "2001:db8:0:1::/64"),
        (("10.0.0.3", "::ffff:10.0.0.3"), "10.0.0.3"),
    ):
        assert {client_name(address) for address in addresses} == {name}
