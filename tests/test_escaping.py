import click
import pytest

from minichar.terminal import Terminal, unescaped


@pytest.fixture
def terminal(tmp_path):
    with open(tmp_path / "shown", "w+", encoding="utf-8") as file:
        yield Terminal(file)


def test_control_characters_are_escaped_except_those_of_minichar_itself(terminal, tmp_path):
    print("a\x1b[K", "b\u2028", file=terminal, flush=True)
    print("\x1b[K", file=unescaped(terminal), flush=True)
    click.echo("c\x9b", file=terminal)
    assert (tmp_path / "shown").read_bytes() == b"a\\x1b[K b\\u2028\n\x1b[K\nc\\x9b\n"


def test_bytes_cannot_bypass_the_escaping(terminal, tmp_path):
    with pytest.raises(TypeError):
        click.echo(b"\x1b[K", file=terminal)
    assert (tmp_path / "shown").read_bytes() == b""
