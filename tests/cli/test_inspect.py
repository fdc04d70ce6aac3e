"""Test `minichar inspect`, and the web page that it writes."""

import re
from base64 import b64decode

import numpy as np
import pytest
from html_page import Page
from toys import TEXT, history_of, parts, put_together, toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save
from minichar.errors import LONGEST_PATH
from minichar.pictures import page
from minichar.pictures.activity import read_activity
from minichar.text.datasets import save_pydocs
from minichar.text.pydocs import pydocs_text
from minichar.training.recipes import settings_from


def test_a_long_vocabulary_is_shortened(cli, home):
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))
    save("wide.npz", toy_model(characters))
    (line,) = re.findall("^vocabulary .*", cli("inspect", "wide.npz").stdout, re.MULTILINE)
    assert line.startswith(f"vocabulary 1,000 characters: '{characters[:100]}")
    assert line.endswith(f"{characters[-100:]}'")
    assert len(line) < 350


def test_inspect_shows_the_contents_of_a_checkpoint(cli, train):
    path = train("--model", "gru", "--dropout", 0.25, "--eval-val-every", 25, "--test", "input.txt")
    shown = cli("inspect", path).stdout
    model = load(path)
    assert f"title      input\nmodel      {model.summary()}" in shown
    assert "dropout 0.25" in shown
    characters = model.vocabulary.characters
    assert f"vocabulary {len(characters)} characters: {characters!r}\n" in shown
    assert "resumable  yes, with `minichar train --resume`" in shown
    for name, view in model.parameters.items():
        size = " × ".join(map(str, view.shape))
        assert re.search(rf"  {name} +{size} +{view.size:,}  max \|w\| {abs(view).max():.3g}\n", shown)
    assert "--test input.txt" in shown
    assert re.search("^command    minichar train .*--dropout 0.25 ", shown, re.MULTILINE)
    rows = [line.split() for line in shown.split("teacher forcing\n")[1].splitlines()]
    assert len(rows) >= 2
    columns = {"epoch": ".2f", "train_loss": ".4f", "val_loss": ".4f"}
    columns |= {"learning_rate": ".3g", "teacher_forcing_ratio": ".3g"}
    assert rows == [[format(row[name], form) for name, form in columns.items()] for row in history_of(path)]


def test_inspect_shows_the_time_spent_in_training(cli, home):
    model = toy_model("ab")
    for seconds, shown in ((5000.0, ["trained    83 min"]), ("90", []), (-1.0, []), (float("inf"), [])):
        model.details["seconds"] = seconds
        save("timed.npz", model)
        assert re.findall("^trained .*", cli("inspect", "timed.npz").stdout, re.MULTILINE) == shown


def test_inspect_model_without_training_state(cli, home):
    model = toy_model("\n\x1b☃", unknown=True)
    model.details = {"origin": {"path": "x" * 10**5}}
    save("toy.npz", model)
    shown = cli("inspect", "toy.npz").stdout
    assert "resumable  no, inference only" in shown
    assert r"vocabulary 3 characters and the unknown token: '\n\x1b☃'" in shown
    assert not re.search("command|history", shown)
    assert max(map(len, cli("sample", "toy.npz").stderr.splitlines())) < LONGEST_PATH + 200


@pytest.mark.parametrize(
    "settings", [3, {"\x1b[2J": 1}, {"y" * 10**5: "z"}], ids=["number", "escape", "long"]
)
def test_inspect_corrupted_settings(refused, checkpoint, settings):
    header, arrays = parts(checkpoint)
    header["details"]["settings"] = settings
    put_together("forged.npz", header, arrays)
    error = refused("inspect", "forged.npz")
    assert error.startswith(
        "Error: forged.npz cannot be used: its training settings are missing or corrupted ("
    )
    assert len(error) < LONGEST_PATH + 200


# --html


@pytest.fixture
def look(cli, home):
    """Return a function that writes a page and parses it."""

    def look(path, *options, text="input.txt"):
        assert cli("inspect", path, "--text", text, "--html", "look.html", *options).stdout == "look.html\n"
        return Page(home / "look.html")

    return look


def test_page_data_matches_the_model(look, train):
    path = train("--model", "gru", "--num-layers", 2)
    data = look(path, "--length", 300).data
    model = load(path)
    activity = read_activity(model, model.vocabulary.encode(TEXT[:300]))
    assert data["text"] == TEXT[:300]
    assert data["about"] == f"{path} on input.txt"
    assert data["model"] == model.summary()
    assert data["surprise"][0] is None
    np.testing.assert_allclose(data["surprise"][1:], activity.surprise[1:], atol=6e-4)
    np.testing.assert_allclose(data["probability"], activity.probability, atol=6e-5)
    assert data["characters"] == [*model.vocabulary.characters]
    np.testing.assert_array_equal(data["likeliest"], activity.likeliest)
    states = np.frombuffer(b64decode(data["states"]), np.int8).reshape(len(data["units"]), -1) / 127
    assert len(data["units"]) == data["total_units"] == 16
    for unit, state in zip(data["units"], states, strict=True):
        np.testing.assert_allclose(state, activity.states[unit["layer"] - 1, unit["unit"] - 1], atol=5e-3)
    assert [gate["name"] for gate in data["gates"]] == ["r", "z", "r", "z"]


def test_units_are_sorted_by_correlation_with_a_feature(look, home):
    """Unit 2 of a handcrafted LSTM counts the characters since the last newline."""
    model = toy_model("\nab", dtype="float32", num_layers=1)
    W, Wx = model.parameters["layer1.W"], model.parameters["layer1.Wx"]
    W[...], Wx[...] = 0, 0
    i, f, g = 1, 5, 13  # the weight rows of unit 2's gates
    W[[i, f], -1] = 20
    Wx[g, 1:] = 0.01
    Wx[f, 0] = -40
    save("counter.npz", model)
    (home / "lines.txt").write_text("".join("ab"[n % 2] * (n * 7 % 30) + "\n" for n in range(30)))
    data = look("counter.npz", text="lines.txt").data
    assert (data["units"][0]["layer"], data["units"][0]["unit"]) == (1, 2)
    assert data["units"][0]["trait"] == "position in line"
    assert data["units"][0]["r"] > 0.99
    assert [unit["r"] for unit in data["units"][1:]] == [0, 0, 0], "constant units have no correlation"


def test_page_loads_no_external_resources(look, checkpoint):
    page = look(checkpoint)
    assert not [tag for tag, attributes in page.tags if {"src", "href"} & attributes.keys()]
    policies = [attributes.get("content", "") for tag, attributes in page.tags if tag == "meta"]
    assert any(policy.startswith("default-src 'none';") for policy in policies)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", str(page.texts))


HOSTILE = "</script><script>alert(1)</script><!--<b onload=x>&amp;\u2028\u202e\x07'\"`${1}$&\\"


def test_markup_in_the_text_is_escaped(look, home):
    pages = []
    for name, text in (("x<b>.txt", HOSTILE), ("x.txt", "harmless\n")):
        (home / name).write_text(text * 3, encoding="utf-8")
        save("toy.npz", toy_model("".join(sorted(set(text))), unknown=True))
        pages.append(look("toy.npz", text=name))
    assert pages[0].data["text"] == HOSTILE * 3
    assert [tag for tag, _ in pages[0].tags] == [tag for tag, _ in pages[1].tags]


def test_long_text_is_truncated_with_a_note(cli, checkpoint):
    arguments = ("inspect", checkpoint, "--text", "input.txt", "--html", "a.html")
    note = f"the page shows the first 100 of {len(TEXT):,} characters; to show more, use --length\n"
    assert cli(*arguments, "--length", 100).stderr == note
    assert cli(*arguments).stderr == ""


def test_large_model_shows_the_units_with_the_highest_correlation(look, home, monkeypatch):
    monkeypatch.setattr(page, "MAX_UNITS", 5)
    save("toy.npz", toy_model("".join(sorted(set(TEXT)))))
    data = look("toy.npz").data
    assert len(data["units"]) == 5
    assert data["total_units"] == 8
    assert len(b64decode(data["states"])) == 5 * len(data["text"])
    strength = [abs(unit["r"]) for unit in data["units"]]
    assert strength == sorted(strength, reverse=True)


def test_default_text_is_the_training_text(cli, train, home):
    (home / "input.txt").write_text(TEXT + "é", encoding="latin-1")
    path = train("--encoding", "latin-1")
    cli("inspect", path, "--html", "a.html")
    assert Page(home / "a.html").data["text"] == TEXT + "é"
    for options in (["--encoding", "ascii"], ["--text", "input.txt"]):
        result = cli("inspect", path, "--html", "b.html", *options, status=1)
        assert "at byte offset" in result.stderr


def test_a_model_of_the_default_text(cli, home):
    model = toy_model("".join(sorted(set(pydocs_text()))))
    model.details["settings"] = settings_from({"recipe": "char-rnn"}).to_json()
    model.details["origin"] = {"path": "data/pydocs/input.txt"}
    save("toy.npz", model)
    for path in ("pydocs (in memory)", "data/pydocs/input.txt"):
        cli("inspect", "toy.npz", "--html", "a.html", "--length", 50)
        data = Page(home / "a.html").data
        assert (data["text"], data["about"]) == (pydocs_text()[:50], f"toy.npz on {path}")
        save_pydocs()


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\x1b[2J"])
def test_training_text_has_an_invalid_path(refused, path):
    model = toy_model()
    model.details["settings"] = settings_from({"recipe": "char-rnn"}).to_json() | {"data": path}
    save("toy.npz", model)
    assert "\x1b" not in refused("inspect", "toy.npz", "--html", "x.html")
