"""Test the files of the page: their headers, links and strings."""

import gzip
import re
from contextlib import closing

import pytest
from web_helpers import Client

from minichar.web.guard import HEADERS
from minichar.web.static import PAGE


@pytest.fixture
def client(port):
    with closing(Client(port)) as client:
        yield client


def test_content_security_policy_allows_only_this_server(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert set(directives.values()) <= {"'self'", "'none'"}
    assert directives.keys() >= {"base-uri", "form-action", "frame-ancestors"}


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
    assert "Content-Encoding" not in plain.headers
    for response, encoding in ((plain, "identity"), (small, "gzip")):
        assert (response.headers["Cache-Control"], response.headers["Vary"]) == (
            "no-cache",
            "Accept-Encoding",
        )
        for name, value in (HEADERS | {"Cache-Control": "no-cache"}).items():
            assert response.headers[name] == value
        headers = {"If-None-Match": response.headers["ETag"], "Accept-Encoding": encoding}
        cached = client.get(path, headers=headers)
        assert (cached.status_code, cached.data) == (304, b"")
        assert cached.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_both_languages_define_all_strings(client):
    """Both languages have the same keys and placeholders, and every key in use exists."""
    languages = [strings(part) for part in client.get("/words.js").text.split("  zh: {")]
    placeholders = [{k: set(re.findall(r"{\w+}", v)) for k, v in words.items()} for words in languages]
    assert placeholders[0] == placeholders[1]
    page = "".join(client.get(path).text for path in PAGE)
    used = re.findall(r'data-(?:word|placeholder|label)="(\w+)"', page)
    used += re.findall(r'(?:\bt|set(?:Status|Error)|say)\("(\w+)"', page)
    assert {"output", "invalid"} <= set(used)
    assert set(used) <= languages[0].keys()


def strings(part):
    return dict(re.findall(r'^    (\w+): "(.*)",$', part, re.MULTILINE))


def test_the_page_is_in_english_without_its_scripts_and_in_previews_of_links(client):
    english, page = strings(client.get("/words.js").text.partition("  zh: {")[0]), client.get("/").text
    shown = re.findall(r'data-word="(\w+)"[^>]*>([^<]*)<', page)
    shown += re.findall(r'data-placeholder="(\w+)" placeholder="([^"]*)"', page)
    shown += re.findall(r'data-label="(\w+)" aria-label="([^"]*)"', page)
    assert len(shown) == len(re.findall(r"data-(?:word|placeholder|label)=", page)) > 25
    assert shown == [(key, english[key]) for key, _ in shown]
    title, description = re.findall(r'property="og:(?:title|description)" content="([^"]*)"', page)
    assert title == english["page_title"]
    assert description.startswith(english["tagline"])
