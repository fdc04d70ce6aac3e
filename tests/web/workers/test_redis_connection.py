"""Test Redis URLs and passwords, and what is logged if Redis cannot be used."""

import socket
import time
from functools import partial
from types import SimpleNamespace

import pytest
import web_helpers  # noqa: F401  # skips these tests without minichar[web]
from click.testing import CliRunner

from minichar import MinicharError
from minichar.cli import main
from minichar.cli.serving import with_password
from minichar.web import errors, redis_link, redis_queue, store
from minichar.web.errors import Unavailable
from minichar.web.redis_link import RedisLink


@pytest.mark.parametrize("given", ["redis://:x@h/0", "redis://h/0?db=1&password=x", "unix:///s?pass%77ord=x"])
def test_a_password_in_the_url_is_used_after_a_warning(given, monkeypatch, capsys):
    monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "other")
    assert with_password(given) == given
    assert "other users can see a password in --redis" in capsys.readouterr().err


def test_the_url_keeps_its_user_name_and_options(monkeypatch, capsys):
    monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "p@ss")
    completed = with_password("redis://m%40e@h:1/0?socket_timeout=1")
    assert completed == "redis://m%40e:p%40ss@h:1/0?socket_timeout=1"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "cv"]])
def test_commands_use_the_password(folder, monkeypatch, command):
    urls = []

    def refuse(url, *others):
        urls.append(url)
        raise MinicharError("refused")

    monkeypatch.setattr(redis_link, "RedisLink", refuse)
    monkeypatch.setattr(redis_queue, "RedisQueue", refuse)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("MINICHAR_REDIS_PASSWORD", "secret")
    result = CliRunner().invoke(main, [*command, "--redis", "redis://h/0"])
    assert (urls, result.exit_code) == (["redis://:secret@h/0"], 1)
    assert "secret" not in result.output


def test_commands_fail_if_redis_does_not_reply(monkeypatch):
    """Without a timeout, servers and workers would wait forever."""
    monkeypatch.setattr(store, "SOCKET_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        start = time.monotonic()
        with pytest.raises(Unavailable):
            RedisLink(url).unwanted(["job"])
        assert time.monotonic() - start < 5.0  # redis-py's default is at least 5 seconds


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:99999x/0", "redis://[", "http://:secret@x", "x"])
def test_invalid_url(url):
    for used in (RedisLink, partial(redis_queue.RedisQueue, queue=1, memory=0)):
        with pytest.raises(MinicharError, match=r"^invalid Redis URL: .*$") as caught:
            used(url)
        assert "secret" not in str(caught.value)


def test_a_problem_is_logged_again_every_minute(db, redis_url, monkeypatch, caplog):
    clock = [1000.0]
    monkeypatch.setattr(errors, "LOGGED", {})
    monkeypatch.setattr(errors, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    db.config_set("requirepass", "right")
    try:
        for _ in range(4):
            with pytest.raises(Unavailable), store.redis_errors():
                store.redis.Redis.from_url(redis_url.replace("//", "//:wrong@")).ping()
            clock[0] += 20
    finally:
        db.config_set("requirepass", "")
    assert len(caplog.messages) == 2
    assert all("password" in message for message in caplog.messages)
    assert "wrong" not in caplog.text


def test_only_the_message_of_an_error_with_several_arguments_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(errors, "LOGGED", {})
    for error in (
        store.redis.RedisError("full.", "EXEC"),
        store.redis.RedisError("full"),
        store.redis.RedisError(),
    ):
        with pytest.raises(Unavailable), store.redis_errors():
            raise error
    assert caplog.messages == ["Redis: full; trying again", "Redis: RedisError; trying again"]


def test_what_is_logged_of_a_full_redis(db, redis_url, monkeypatch, caplog):
    """The command that failed contains a text and the id of a job."""
    from redis_helpers import put

    monkeypatch.setattr(errors, "LOGGED", {})
    db.config_set("maxmemory", 1)
    try:
        with db.pipeline() as pipeline:
            put(pipeline, "secret", prime="山中")
            with pytest.raises(Unavailable), store.redis_errors():
                pipeline.execute()
    finally:
        db.config_set("maxmemory", 0)
    assert "Redis: " in caplog.messages[0]
    for hidden in ("secret", "山", "5c71", "minichar:", "SET"):
        assert hidden not in caplog.text
