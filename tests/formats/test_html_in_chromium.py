"""Test the behaviour of exported pages in Chromium."""

import json
from base64 import b64encode
from itertools import pairwise

import numpy as np
import optional
import pytest
from toys import generation, toy_model

from minichar.engine.cells import CELLS
from minichar.formats.convert import save_model
from minichar.pictures.activity import read_activity
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate

expect = optional.playwright().expect
N = 200
LOGITS = """ids => {
    let states = network.start();
    return ids.map(k => Array.from(network.logits(states = network.step(k, states))));
}"""


@pytest.fixture(scope="module")
def chromium():
    with optional.chromium() as browser:
        yield browser


@pytest.fixture
def problems():
    """Collect console messages, errors, dialogs and requests. Fail at teardown if there are any."""
    problems = []
    yield problems
    assert problems == []


@pytest.fixture
def visit(chromium, tmp_path, problems):
    """Return a function that writes a model's page and opens it."""
    contexts = []

    def visit(model, link="length=1", **options):
        path = tmp_path / "model.html"
        save_model(model, path)
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: r.url.split("#")[0] == path.as_uri() or problems.append(r.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(error))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        page.goto(f"{path.as_uri()}#{link}")
        page.uncheck("#animate")
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def functions(chromium, tmp_path_factory):
    """Return a page, for tests that call its functions."""
    path = tmp_path_factory.mktemp("page") / "model.html"
    save_model(toy_model(), path)
    page = chromium.new_page()
    page.goto(path.as_uri())
    return page


@pytest.fixture
def rounded(make):
    """Return a function that creates a float64 model whose weights float16 represents exactly."""

    def rounded(*arguments, **options):
        model = make(*arguments, dtype="float64", **options)
        model.parameters.flat[...] = (2 * model.parameters.flat).astype("float16")
        return model

    return rounded


def text_of(page):
    return page.locator("#text").text_content()


def generate_on(page, **settings):
    """Generate text with the given settings, and return it without the prompt."""
    for name, value in settings.items():
        page.fill(f"#{name}", str(value))
    page.click("#generate")
    expect_status(page, f"{int(page.input_value('#length')):,} characters, seed")
    return text_of(page).removeprefix(page.input_value("#beginning"))


def expect_status(page, words):
    expect(page.locator("#status")).to_contain_text(words)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": "rnn"},
        {"model": "lstm", "embedding": 3, "tied": True},
        *({"model": cell, "embedding": 4, "layer_norm": True} for cell in CELLS),
    ],
    ids=str,
)
def test_logits_and_argmax_text_agree_with_the_engine(visit, rounded, parts):
    """Both use float64, so they differ only by the approximation error of `exp` in model.js."""
    model = rounded(3, **parts)
    ids = np.random.default_rng(1).integers(7, size=N)  # (N,)
    network = model.network(N, 1)
    expected = network.forward(ids[:, None])[:, :, 0]  # (N, V)
    page = visit(model)
    np.testing.assert_allclose(page.evaluate(LOGITS, ids.tolist()), expected, rtol=0, atol=1e-10)
    text = "".join(generate(model, generation(N, "a", Choice(argmax=True))))
    assert generate_on(page, beginning="a", temperature=0, length=N) == text


def test_every_float16_is_decoded(functions):
    values = np.arange(1 << 16, dtype="<u2").view("<f2")
    values = values[np.isfinite(values)][::9]  # an odd step visits every exponent and bit of the fraction
    encoded = b64encode(values.tobytes()).decode()
    decoded = functions.evaluate("base64 => Array.from(decode(base64))", encoded)
    np.testing.assert_array_equal(decoded, values)


def test_activations(functions):
    values = np.linspace(-60, 60, 1201).tolist()
    found = functions.evaluate("values => values.map(exp)", values)
    np.testing.assert_allclose(np.array(found, float), np.exp(values), rtol=5e-13)
    values = [-1e6, -710, -20, -1e-9, 0, 0.3, 20, 710, 1e6]
    for name, function in (("tanh", np.tanh), ("sigmoid", lambda a: 0.5 * np.tanh(0.5 * a) + 0.5)):
        found = functions.evaluate(f"a => Array.from({name}(Float64Array.from(a)))", values)
        np.testing.assert_allclose(found, function(np.array(values)), rtol=0, atol=1e-12)


def test_sampling_agrees_with_choice(functions):
    generator = np.random.default_rng(2)
    logits, u = generator.normal(0, 3, (100, 9)), generator.random(100)
    for temperature, top_p in ((1, 1), (0.3, 1), (2, 0.5), (1, 0.9), (0.01, 0.05)):
        found = functions.evaluate(
            """([logits, u, options]) => logits.map((z, b) => choose(Float64Array.from(z), options, u[b]))""",
            [logits.tolist(), u.tolist(), {"temperature": temperature, "top_p": top_p}],
        )
        assert found == Choice(temperature, top_p=top_p).ids(logits.T, u).tolist()


def sfc32(seed, n):
    """Return n random numbers from PractRand's sfc32, implemented independently of sampling.js."""
    a, b, c, counter, numbers = 0, seed & 0xFFFFFFFF, seed >> 32, 1, []
    for _ in range(12 + n):
        result = (a + b + counter) % 2**32
        counter += 1
        a, b, c = b ^ (b >> 9), (c * 9) % 2**32, (((c << 21) | (c >> 11)) + result) % 2**32
        numbers.append(result / 2**32)
    return numbers[12:]


def test_random_numbers_are_those_of_sfc32(functions):
    program = "seed => { const random = new Random(seed); return Array(50).fill().map(() => random.next()); }"
    for seed in (0, 1, 2**31, 2**32 + 5, 2**53 - 1):
        assert functions.evaluate(program, seed) == sfc32(seed, 50)


def test_a_seed_reproduces_the_text(visit, make):
    page = visit(make(), "seed=7&length=150&beginning=ab")
    text = generate_on(page)
    page.click("#more")
    expect_status(page, "150 characters, seed 7")
    expect(page.locator("#text span")).to_have_count(302)
    longer = text_of(page)
    assert longer.startswith("ab" + text)
    assert generate_on(page, length=300) == longer[2:]
    assert generate_on(page, seed=8) != longer[2:]
    texts = {generate_on(page, seed="") for _ in range(3)}
    assert len(texts) == 3


def test_surprisal_alternatives_and_units_agree_with_the_engine(visit, rounded):
    """Use a model that resets its state at each "ab"."""
    model = rounded(model="gru")
    model.details["settings"] = {"reset_on": "ab"}
    text = "caabdab詩é\nabab"
    ids = model.vocabulary.encode(text)
    activity = read_activity(model, ids)
    page = visit(model)
    page.fill("#beginning", text)
    expect(page.locator("#text .typed")).to_have_count(len(text))
    assert text_of(page) == text
    found = json.loads(page.evaluate("JSON.stringify(shown.map(({ surprisal }) => surprisal))"))
    assert found[0] is None
    np.testing.assert_allclose(found[1:], activity.surprise[1:], rtol=0, atol=1e-10)
    units = page.evaluate("shown.map((item, t) => Array.from(reading.h(t)))")
    np.testing.assert_allclose(np.transpose(units), activity.states[-1], rtol=0, atol=1e-10)

    page.focus("#text")
    for t in reversed(range(1, len(text))):
        page.keyboard.press("ArrowLeft")
        likeliest = ["↵" if k == 0 else model.vocabulary.characters[k] for k in activity.likeliest[t]]
        assert page.locator("#detail button b").all_text_contents() == likeliest
        assert f"surprisal {activity.surprise[t]:.2f} nats" in page.inner_text("#detail")
        assert page.get_attribute("#text .at", "data-t") == str(t)


def test_colours_follow_the_values(visit, rounded):
    model = rounded()
    page = visit(model)
    page.fill("#beginning", "abca")
    expect(page.locator("#text span")).to_have_count(4)
    background = "element => getComputedStyle(element).backgroundColor"
    surprisal = read_activity(model, model.vocabulary.encode("abca")).surprise
    for t, nats in enumerate([0, *surprisal[1:]]):
        alpha = 0.7 * min(nats / 6, 1)
        colour = page.locator(f"#text [data-t='{t}']").evaluate(background)
        assert float(colour.rstrip(")").split(",")[-1]) == pytest.approx(alpha, abs=0.01)
    h = page.evaluate("Array.from(reading.h(3))")
    colours = page.locator("#units i").evaluate_all(f"elements => elements.map({background})")
    assert len(colours) == len(h) == 3
    for value, colour in zip(h, colours, strict=True):
        red, _, blue, alpha = map(float, colour.removeprefix("rgba(").rstrip(")").split(","))
        assert (red > blue) == (value > 0)
        assert alpha == pytest.approx(abs(value), abs=0.01)


def test_an_alternative_replaces_a_character(visit, make):
    page = visit(make(), "seed=3&length=40&beginning=ab")
    before = generate_on(page)
    page.click("#text [data-t='10']")
    expect(page.locator("#detail button.true b")).to_have_text(before[8].replace("\n", "↵"))
    other = page.locator("#detail button:not(.true)").first
    character = other.locator("b").text_content().replace("↵", "\n")
    page.hover("#text [data-t='20']")  # a pinned selection ignores the mouse
    other.click()
    expect_status(page, "40 characters, seed 3")
    assert page.input_value("#beginning") == "ab" + before[:8] + character
    assert len(text_of(page)) == 11 + 40
    expect(page.locator("#text")).to_be_focused()


def test_keys_and_buttons(visit, make):
    page = visit(make(), "length=5000")
    page.focus("#beginning")
    page.keyboard.type("abc")
    expect(page.locator("#text .typed")).to_have_count(3)
    assert text_of(page) == "abc"
    page.keyboard.press("Shift+Enter")
    assert page.input_value("#beginning") == "abc\n"
    page.keyboard.press("Backspace")
    page.fill("#length", "30")
    page.press("#beginning", "Enter")
    expect_status(page, "30 characters, seed")
    page.focus("#text")
    page.keyboard.press("Home")
    expect(page.locator("#detail")).to_contain_text("a: not predicted")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#text .at")).to_have_text("b")
    for keys in ("Control+Home", "Shift+ArrowRight"):  # those of the browser
        page.keyboard.press(keys)
        expect(page.locator("#text .at")).to_have_text("b")
    page.keyboard.press("Escape")
    expect(page.locator("#text .at")).to_have_count(0)
    expect(page.locator("#detail")).to_contain_text("Likeliest next characters")
    page.check("#animate")
    page.fill("#length", "5000")
    page.click("#generate")
    page.click("#generate:has-text('Stop')")
    expect(page.locator("#generate")).to_have_text("Generate")
    assert 3 <= len(text_of(page)) < 5003
    page.fill("#beginning", "ca")
    expect(page.locator("#more")).to_be_disabled()
    expect(page.locator("#text span")).to_have_count(2)


def test_characters_outside_the_vocabulary(visit, make):
    page = visit(make())
    page.fill("#beginning", "a☃b\t")
    expect_status(page, "not in the vocabulary: ☃ ⇥")
    expect(page.locator("#text")).to_have_text("ab")
    page.fill("#beginning", "aVWXYZ☃")
    expect_status(page, "not in the vocabulary: V W X Y Z …")
    model = make(unknown=True)
    model.parameters["readout.W"][-1, -1] = 20  # the unknown token is likely
    page = visit(model)
    page.fill("#beginning", "a☃b")
    expect(page.locator("#text span")).to_have_count(3)
    assert text_of(page) == "a☃b"
    assert page.evaluate("reading.ids") == [1, 6, 2]
    text = generate_on(page, length=300, temperature=1.5)
    assert len(text) == 300
    assert set(text) <= set("\nabcdé")
    assert set(page.locator("#detail button b").all_text_contents()) < set("↵abcdé")


def test_a_link_with_invalid_settings_generates_nothing(visit, make):
    page = visit(make(), "length=999999999&temperature=x&seed=-1&beginning=ab")
    assert page.input_value("#beginning") == "ab"
    page.fill("#beginning", "abc")
    expect(page.locator("#text span")).to_have_count(3)
    page.click("#generate")
    expect(page.locator("#generate")).to_have_text("Generate")
    assert text_of(page) == "abc"


HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"


def test_markup_is_shown_as_text(visit):
    model = toy_model("".join(sorted(set(HOSTILE))), scale=9)
    model.details["settings"] = {"reset_on": HOSTILE}
    model.details["origin"] = {"path": HOSTILE}
    page = visit(model, "length=50&beginning=" + HOSTILE.replace("=", "%3D"))
    tags = "Array.from(document.querySelectorAll('script, img'), element => element.id)"
    assert generate_on(page)
    assert text_of(page).startswith(HOSTILE)
    page.focus("#text")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail")).to_contain_text("/: surprisal")
    assert page.evaluate(tags) == ["model", ""]
    assert page.evaluate("typeof hacked") == "undefined"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_a_frame(visit, make, scheme):
    page = visit(make(), "length=200", viewport={"width": 390, "height": 560}, color_scheme=scheme)
    expect_status(page, "200 characters, seed")
    root = "document.documentElement"
    assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [390, 560]
    names = ("#settings", "#text", "#scale", "#detail", "#units")
    boxes = [page.locator(name).bounding_box() for name in names]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"]
    assert boxes[1]["height"] > 90
    for button in page.locator("#settings button").all():
        assert button.bounding_box()["height"] >= 40
    for name in ("Prompt", "Temperature 0.8", "Top-p 1", "Seed", "Length", "Animate"):
        expect(page.get_by_label(name, exact=True)).to_be_visible()
    expect(page.get_by_role("img")).to_have_accessible_name(page.inner_text("#units-about"))
    style = "getComputedStyle(document.body)"
    ink, paper = page.evaluate(f"[{style}.color, {style}.backgroundColor]")
    assert (ink < paper) == (scheme == "light")
