"""Test passwords in Redis URLs, and the timeouts of commands."""

import socket
import time

import pytest
import web_helpers  # noqa: F401  # skips these tests without minichar[web]
from click.testing import CliRunner

from minichar import MinicharError
from minichar.cli import main
from minichar.cli.redis_server import with_password
from minichar.web import store
from minichar.web.store import Store


@pytest.mark.parametrize("given", ["redis://:x@h/0", "redis://h/0?db=1&password=x", "unix:///s?pass%77ord=x"])
def test_a_password_in_the_url_is_used_after_a_warning(given, monkeypatch, capsys):
    monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "other")
    assert with_password(given, None) == given
    assert "other users can see a password in --redis" in capsys.readouterr().err


def test_the_url_keeps_its_user_name_and_options(monkeypatch, capsys):
    monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "p@ss")
    completed = with_password("redis://m%40e@h:1/0?socket_timeout=1", None)
    assert completed == "redis://m%40e:p%40ss@h:1/0?socket_timeout=1"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["serve"], ["worker", "cv"]])
def test_commands_use_the_password(folder, monkeypatch, command):
    urls = []

    def refuse(self, url, retries):
        urls.append(url)
        raise MinicharError("refused")

    monkeypatch.setattr(Store, "__init__", refuse)
    monkeypatch.chdir(folder.parent)
    (folder.parent / "password").write_text("secret\n")
    options = ["--redis", "redis://h/0", "--redis-password-file", "password"]
    result = CliRunner().invoke(main, [*command, *options])
    assert (urls, result.exit_code) == (["redis://:secret@h/0"], 1)
    assert "secret" not in result.output


def test_commands_fail_if_redis_does_not_reply(monkeypatch):
    """Without a timeout, the threads of servers and workers would wait forever."""
    monkeypatch.setattr(store, "SOCKET_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections
        one = Store(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", retries=0)
        start = time.monotonic()
        assert "imeout" in one.problem()
        for command in (one.client.ping, one.broker.client.ping):
            with pytest.raises(store.redis.TimeoutError):
                command()
        assert time.monotonic() - start < 4.0  # redis-py's default is at least 5 seconds
