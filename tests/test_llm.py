import subprocess
import sys

import pytest
from click.testing import CliRunner
from optional import missing
from toys import ONE_THREAD, toy_model

from minichar import Model, load
from minichar.checkpoints.checkpoint import save
from minichar.checks import declared
from minichar.sampling.generate import Generation

try:
    import llm
    from llm.cli import cli

    from minichar.llm import Minichar
except ImportError:
    missing("llm")

MODEL = "minichar/cv-toy"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Change to a directory with a toy model in ``cv-toy``, and a file that is not a checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    for folder in ("cv-toy", "other"):
        (tmp_path / folder).mkdir()
    save("cv-toy/lm_lstm_epoch1.00_1.0000.npz", toy_model())
    save("other/model.npz", toy_model())
    return tmp_path


def test_the_command_prints_the_continuation(home):
    """Options have the names of `Model.stream`'s keywords."""
    options = {
        "length": 30,
        "seed": 3,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "stop": "dd",
    }
    words = [word for name, value in options.items() for word in ("-o", name, str(value))]
    result = CliRunner().invoke(cli, ["-m", MODEL, "abc", *words])
    assert result.exit_code == 0, result.output
    assert result.stdout == load("cv-toy").generate("abc", **options) + "\n"


def test_every_option_is_available_with_its_description():
    fields = Minichar.Options.model_fields
    assert {name: field.description for name, field in fields.items()} == {
        name: field.help for name, field in declared(Generation).items() if name != "prime"
    }
    assert (fields["length"].default, fields["seed"].default, fields["top_p"].default) == (400, None, 1.0)


def test_the_remedies_in_error_messages_are_options(home):
    result = CliRunner().invoke(cli, ["-m", MODEL, "abcé", "-o", "unknown", "skip", "-o", "argmax", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout == load("cv-toy").generate("abc", 400, argmax=True) + "\n"


def test_only_directories_of_checkpoints_are_listed(home):
    names = [model.model_id for model in llm.get_models() if model.model_id.startswith("minichar/")]
    assert names == [MODEL]


def test_it_streams(home):
    """Otherwise, a text without an end would not begin."""
    command = [sys.executable, "-m", "llm", "-m", MODEL, "abc", "-o", "length", "0", "-o", "seed", "1"]
    environment = ONE_THREAD | {"LLM_USER_PATH": str(home / "llm")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, encoding="utf-8") as process:
        first = process.stdout.read(40)
        process.kill()
    assert first == load("cv-toy").generate("abc", 40, seed=1)


def test_a_conversation_is_continued(home, monkeypatch):
    primes, stream = [], Model.stream
    monkeypatch.setattr(
        Model, "stream", lambda self, prime, **options: primes.append(prime) or stream(self, prime, **options)
    )
    conversation = llm.get_model(MODEL).conversation()
    first = conversation.prompt("ab", length=20).text()
    conversation.prompt("d", length=20).text()
    assert primes == ["ab", f"ab{first}d"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["é"], "'é' (U+00E9)"),
        (["é"], "-o unknown skip"),
        (["abc", "-o", "temperature", "0"], "temperature is 0"),
        (["abc", "-s", "Be brief."], f"{MODEL} does not support a system prompt: omit it"),
    ],
)
def test_errors_are_one_line(home, words, message):
    result = CliRunner().invoke(cli, ["-m", MODEL, *words])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
