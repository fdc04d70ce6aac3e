"""Test the contents of exported pages. `test_html_in_chromium` tests their behaviour."""

import hashlib
import re
from base64 import b64decode, b64encode
from importlib.resources import files

import numpy as np
import pytest
from converting import convert
from html_page import Page
from toys import toy_model

from minichar.errors import MinicharError
from minichar.formats import html
from minichar.formats.convert import save_model

HOSTILE = "</script><script>alert(1)</script><!--<b onload=x>&amp;\u2028\u202e\x07'\"`${1}$&\\@DATA@"


def test_the_page_contains_the_model(saved, cell):
    model, path = saved(unknown=True, embedding=4, layer_norm=True, dropout=0.5, model=cell)
    converted = convert(path, path.with_suffix(".html"))
    data = Page(converted.path).data
    assert converted.notes == ("to generate text, open the page in a browser",)
    assert data["about"] == f"A small neural network that writes text: {model.summary()}"  # it has no title
    assert (data["H"], data["L"], data["layer_norm"]) == (3, 2, True)
    assert data["characters"] == list("\nabcdé")
    assert data["unknown"]
    assert data["shapes"] == [[name, *shape] for name, shape in model.config.shapes().items()]
    stored = np.frombuffer(b64decode(data["weights"]), "<f2")
    np.testing.assert_array_equal(stored, model.parameters.flat.astype("float16"))


@pytest.mark.parametrize(
    ("characters", "reset_on", "prime", "separator"),
    [("\nab", "", [0], []), ("ab", "", [], []), ("\nab", "\na", [0, 1], [0, 1])],
)
def test_the_prime_is_that_of_sample(tmp_path, characters, reset_on, prime, separator):
    model = toy_model(characters)
    model.details["settings"] = {"reset_on": reset_on}
    save_model(model, tmp_path / "model.html")
    data = Page(tmp_path / "model.html").data
    assert (data["prime"], data["separator"]) == (prime, separator)


def test_the_policy_allows_only_the_page_itself(saved):
    _, path = saved()
    page = Page(convert(path, path.with_suffix(".html")).path)
    (policy,) = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind, text in (("script", page.texts["script"][1]), ("style", page.texts["style"][0])):
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert [attributes["href"] for tag, attributes in page.tags if "href" in attributes] == ["data:,"]
    assert not [tag for tag, attributes in page.tags if {"src", "style", "onclick"} & attributes.keys()]
    assert not re.search("https?:", path.with_suffix(".html").read_text(encoding="utf-8"))


def test_markup_from_the_model_is_escaped_and_its_path_left_out(tmp_path):
    tags = []
    for reset_on in (HOSTILE, "harmless"):
        model = toy_model("".join(sorted(set(HOSTILE + "harmless\ud83d\ude00\U0001f600"))))
        model.details["settings"] = {"reset_on": reset_on}
        model.details["origin"] = {"path": f"/home/ada/private.txt{HOSTILE}"}
        save_model(model, tmp_path / "model.html")
        page = Page(tmp_path / "model.html")
        tags.append(page.tags)
        assert page.data["separator"] == model.vocabulary.encode(reset_on).tolist()
        assert page.data["characters"] == list(model.vocabulary.characters)
        assert page.texts["script"][0].isascii()
        assert "<" not in page.texts["script"][0]
        assert b"private" not in (tmp_path / "model.html").read_bytes()
    assert tags[0] == tags[1]


def test_the_page_is_named_after_the_model(tmp_path):
    shown, tags = [], []
    for title in ("唐诗", "</title><b>&amp; @DATA@ @TITLE@ \\1", ""):
        model = toy_model("ab")
        model.details["settings"] = {"title": title}
        save_model(model, tmp_path / "model.html")
        page = Page(tmp_path / "model.html")
        shown += page.texts["title"]
        tags.append(page.tags)
        like = f"like “{title}”" if title else "text"
        assert page.data["about"] == f"A small neural network that writes {like}: {model.summary()}"
    assert shown == [
        "唐诗 · minichar",
        "</title><b>&amp; @DATA@ @TITLE@ \\1 · minichar",
        "minichar: a model in one file",
    ]
    assert tags[0] == tags[1] == tags[2]


def test_only_float16_is_written(saved, tmp_path):
    model, path = saved()
    for dtype in ("float32", "float64"):
        message = f"dtype is '{dtype}'; in an .html file, use float16"
        with pytest.raises(MinicharError, match=message):
            convert(path, path.with_suffix(".html"), dtype=dtype)
        with pytest.raises(MinicharError, match=message):
            save_model(model, tmp_path / "model.html", dtype)
    model.parameters.flat[...] = 1e6
    with pytest.raises(MinicharError, match="that float16 cannot represent"):
        save_model(model, tmp_path / "model.html")
    assert not (tmp_path / "model.html").exists()


def test_unsupported_models_are_one_line_errors(saved, tmp_path, monkeypatch):
    model, path = saved()
    monkeypatch.setattr(html, "MAX_BYTES", 2 * model.parameters.size - 1)
    with pytest.raises(MinicharError, match=r"model\.html: the model is too large for a web page; use \.on"):
        convert(path, path.with_suffix(".html"))
    monkeypatch.setattr(html, "MAX_BYTES", 2 * model.parameters.size)
    convert(path, path.with_suffix(".html"))


def test_the_forward_pass_is_short_and_the_same_in_every_browser():
    """Functions such as Math.exp are inexact and differ between browsers, so the page must not use them."""
    page = files("minichar.formats").joinpath("page")
    for name in ("model.js", "sampling.js"):
        source = page.joinpath(name).read_text(encoding="utf-8")
        code = re.sub(r"//.*", "", source)
        used = set(re.findall(r"Math\.(\w+)", code))
        assert used <= {"LN2", "ceil", "floor", "max", "min", "round", "sqrt"}, name
        assert len(source.splitlines()) <= 200
