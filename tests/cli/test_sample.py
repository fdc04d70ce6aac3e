import os
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from toys import TEXT, generation, listing, scripted, toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save
from minichar.checks import declared
from minichar.cli import main
from minichar.cli.sample import command, print_stream
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Generation, generate


def text_of(path, *arguments, **others):
    return "".join(generate(load(path), generation(*arguments, **others)))


def test_without_a_seed_every_text_is_new(cli, toy):
    seeds = set()
    for length, options in ((2000, []), (20, ["--length", 20])):
        result = cli("sample", toy, "--device", "cpu", *options)
        line, seed = result.stderr.rsplit(maxsplit=1)
        assert line == "toy.npz, on cpu, seed"
        assert result.stderr.endswith("\n\n"), "an empty line between the header and the text"
        assert result.stdout == text_of(toy, length, seed=int(seed), stop=["\n" * 5]) + "\n"
        seeds.add(seed)
    assert len(seeds) == 2


def test_options_match_the_function(cli, toy):
    words = ["--top-k", 4, "--top_p", 0.9, "--min-p", 0.2, "--temperature", 0.7, "--seed", 5, "--length", 60]
    expected = text_of(toy, 60, "ab", Choice(0.7, 4, 0.9, 0.2), seed=5)
    assert cli("sample", toy, *words, "--primetext", "ab").stdout == f"ab{expected}\n"
    several = cli("sample", toy, *words, "--num_samples", 2, "--prime_file", "-", stdin="ab")
    assert several.stdout.startswith(f"ab{expected}\n\nab")
    result = cli("sample", toy, "--argmax", "--length", 30)
    assert result.stdout == text_of(toy, 30, choice=Choice(argmax=True)) + "\n"
    assert "seed" not in result.stderr


def test_every_option_is_on_the_command_line():
    parameters = {parameter.name: parameter for parameter in command.params}
    for name, field in declared(Generation).items():
        if name not in ("seed", "stop"):
            assert parameters[name].default == field.default
        assert name == "stop" or parameters[name].help == field.shown.help


# The prompt


@pytest.mark.parametrize("name", ["prime.txt", "-"])
def test_a_prompt_from_a_file_that_is_not_too_large(cli, toy, home, monkeypatch, name):
    monkeypatch.setattr("minichar.cli.reading.MAX_BYTES", 9)
    arguments = ("sample", toy, "--seed", 123, "--prime-file", name, "--length", 30)
    prompt = "\ufeffab\r\ncd"
    (home / "prime.txt").write_bytes(prompt.encode())
    assert cli(*arguments, stdin=prompt).stdout == "ab\ncd" + text_of(toy, 30, "ab\ncd") + "\n"
    os.truncate(home / "prime.txt", 1 << 40)  # takes up no space on the disk
    error = cli(*arguments, status=1, stdin=prompt + "a").stderr
    assert error == f"Error: --prime-file {name!r} is larger than 9 bytes: choose a shorter text\n"


def test_a_prompt_from_a_terminal_is_asked_for(cli, toy, monkeypatch):
    arguments = ("sample", toy, "--prime-file", "-", "--length", 5)
    request = "reading the prompt from standard input; press Ctrl-D to finish\n"
    assert request not in cli(*arguments, stdin="ab").stderr
    with CliRunner().isolation():
        monkeypatch.setattr(type(sys.stdin), "isatty", lambda self: True)
    assert cli(*arguments, stdin="ab").stderr.startswith(request)


def test_unknown_characters_in_the_prompt(cli, home):
    save("toy.npz", toy_model(unknown=True))
    options = ["sample", "toy.npz", "--primetext", "a☃bX", "--length", 20, "--seed", 123]
    result = cli(*options, status=1)
    assert result.stdout == ""
    assert "not in the vocabulary: '☃' (U+2603) at position 2, 'X' (U+0058) at position 4" in result.stderr
    for unknown in ("skip", "unk"):
        expected = "a☃bX" + text_of("toy.npz", 20, "a☃bX", unknown=unknown) + "\n"
        result = cli(*options, "--unknown", unknown)
        assert result.stdout == expected
    assert cli(*options, "--unknown", "skip", "--quiet").stderr == ""


# Stopping


def test_stop_strings(cli, toy):
    """The first one that occurs ends the text."""
    arguments, whole = ("sample", toy, "--seed", 123, "--length", 400), text_of(toy, 400)
    first, second = whole[40:44], whole[20:24]
    assert cli(*arguments, "--stop", first).stdout == whole.split(first)[0] + "\n"
    expected = min((whole.split(stop)[0] for stop in (first, second)), key=len)
    assert cli(*arguments, "--stop", second, "--stop", first).stdout == expected + "\n"
    assert cli(*arguments, "--stop", "").stdout == whole + "\n"


def test_escape_sequences_in_stop_strings(cli, toy, monkeypatch):
    with scripted(monkeypatch, load(toy).vocabulary.encode("ab\n\ncd")[:, None]):
        result = cli("sample", toy, "--length", 6, "--stop", r"\n\n")
    assert result.stdout == "ab\n"


def test_five_newlines_stop_by_default_and_text_without_a_limit_is_not_kept(cli, toy, monkeypatch):
    model = load(toy)
    script = model.vocabulary.encode("ab" + 5 * "\n" + "cd")[:, None]
    for length, kept in ((9, "ab"), (0, "")):
        with scripted(monkeypatch, script):
            assert cli("sample", toy, "--length", length).stdout == "ab\n"
        with scripted(monkeypatch, script):
            assert print_stream(model, generation(length, stop=["\n" * 5])) == [kept]


def test_characters_that_standard_output_cannot_encode_are_replaced(cli, home):
    save("toy.npz", toy_model("\né☃"))
    runner = CliRunner(charset="latin-1")
    result = runner.invoke(main, ["sample", "--seed", "123", "toy.npz", "--length", "50"])
    assert result.stdout == text_of("toy.npz", 50).replace("☃", "?") + "\n"


# Several samples


def test_several_samples_show_progress_on_a_terminal(cli, toy, terminal):
    options = ("--num-samples", 3, "--length", 40, "--primetext", "ab", "--seed", 4)
    result = cli("sample", toy, *options)
    texts = result.stdout.removesuffix("\n\n").split("\n\nab")
    assert texts[0] == "ab" + text_of(toy, 40, "ab", seed=4)
    assert [len(text) for text in texts] == [42, 40, 40]
    assert len(set(texts)) == 3
    assert re.findall(r"^--- sample (\d) of 3$", result.stderr, re.MULTILINE) == ["1", "2", "3"]
    assert "100%" in result.stderr
    assert cli("sample", toy, *options, "--quiet").stderr == ""


def test_exact_samples_match_the_exact_model(cli, home):
    """Large weights amplify rounding errors, so a float32 model generates different text."""
    model = toy_model(dtype="float32", rnn_size=64, embedding=9)
    model.parameters.flat[...] *= 20
    save("toy.npz", model)
    expected = "".join(generate(model.exact(), generation(200, seed=4)))
    options = ("sample", "toy.npz", "--length", 200, "--seed", 4)
    exact = cli(*options, "--exact")
    assert exact.stdout == expected + "\n"
    assert cli(*options, "--exact", "--num-samples", 20).stdout.startswith(expected + "\n")
    assert cli(*options).stdout != expected + "\n"


# Comparison with the training text


RUN = TEXT[20:50]


@pytest.mark.parametrize(
    ("samples", "options", "longest", "share"),
    [
        (["the"], ["--stop", "t"], "0 characters", 0.0),
        # The prompt is not compared, and a run does not extend over two samples.
        ([f"zz{RUN}zz"], ["--primetext", TEXT[200:250]], f"30 characters, {RUN!r}", 30 / 34),
        ([f"zz{RUN}", TEXT[50:80] + "zz"], ["--num-samples", 2], f"30 characters, {RUN!r}", 60 / 64),
    ],
)
def test_novelty_is_reported_after_the_text(cli, checkpoint, monkeypatch, samples, options, longest, share):
    ids = [load(checkpoint).vocabulary.encode(sample) for sample in samples]
    with scripted(monkeypatch, np.stack(ids, axis=1)):
        result = cli("sample", checkpoint, "--novelty", "--length", len(samples[0]), *options)
    assert result.stderr.endswith(
        f"\nnovelty     longest shared run: {longest}\n"
        f"            {share:.1%} of the text in shared runs of more than 20 characters\n"
    )


def test_novelty_without_the_training_text(cli, checkpoint, home):
    remedy = "omit --novelty\n"
    (home / "input.txt").write_text(TEXT[::-1], encoding="utf-8")
    before = listing(home)
    result = cli("sample", checkpoint, "--novelty", "--length", 5)
    assert listing(home) == before
    assert f"input.txt is not the text that {checkpoint} was trained on\nnovelty " in result.stderr
    save("toy.npz", toy_model())
    result = cli("sample", "toy.npz", "--novelty", status=1)
    assert result.stderr.endswith(f"Error: toy.npz has no record of its training text: {remedy}")
    assert result.stdout == ""
