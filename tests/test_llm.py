import pytest
from click.testing import CliRunner
from optional import missing
from toys import toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save

try:
    import llm
    from llm.cli import cli
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
    options = {"length": 30, "seed": 3, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "stop": "dd"}
    words = [word for name, value in options.items() for word in ("-o", name, str(value))]
    result = CliRunner().invoke(cli, ["-m", MODEL, "abc", *words])
    assert result.exit_code == 0, result.output
    assert result.stdout == load("cv-toy").generate("abc", **options) + "\n"


def test_only_directories_of_checkpoints_are_listed(home):
    names = [model.model_id for model in llm.get_models() if model.model_id.startswith("minichar/")]
    assert names == [MODEL]


def test_it_streams(home):
    """An unlimited text could otherwise not begin."""
    pieces = iter(llm.get_model(MODEL).prompt("abc", length=0, seed=1))
    first = "".join(next(pieces) for _ in range(40))
    assert load("cv-toy").generate("abc", 40, seed=1) == first


def test_a_conversation_is_continued(home):
    conversation = llm.get_model(MODEL).conversation()
    first = conversation.prompt("abc", length=20, seed=1).text()
    second = conversation.prompt("d", length=20, seed=2).text()
    assert second == load("cv-toy").generate(f"abc{first}d", 20, seed=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["é"], "'é' (U+00E9)"),
        (["abc", "-o", "temperature", "0"], "temperature is 0"),
        (["abc", "-s", "Be brief."], f"{MODEL} has no system prompts: omit it"),
    ],
)
def test_errors_are_one_line(home, words, message):
    result = CliRunner().invoke(cli, ["-m", MODEL, *words])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
