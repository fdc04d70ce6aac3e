"""Test in Chromium the picture of a text to share, and the preview of links to the page."""

from base64 import b64encode

import optional
import pytest
from page_helpers import expect_status, generate

expect = optional.playwright().expect
COLOURS = """async (data) => {
    const image = new Image();
    image.src = data;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data: bytes } = context.getImageData(0, 0, image.width, image.height);
    const counts = {};
    const inked = new Set();
    for (let i = 0; i < bytes.length; i += 4) {
        const colour = `rgb(${bytes[i]}, ${bytes[i + 1]}, ${bytes[i + 2]})`;
        counts[colour] = (counts[colour] ?? 0) + 1;
        if (bytes[i] !== bytes[0]) inked.add(Math.floor(i / 4 / image.width));
    }
    return [[image.width, image.height], counts, [...inked]];
}"""


def saved(page, chromium):
    """Save the picture. Return its size, the number of pixels of each colour, and the rows with any ink."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "minichar.png"
    data = b64encode(download.value.path().read_bytes()).decode()
    reader = chromium.new_page()
    picture = reader.evaluate(COLOURS, f"data:image/png;base64,{data}")
    reader.close()
    expect_status(page, "The picture has been saved.")
    return picture


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_shows_the_text_in_the_colours_of_the_page(visit, port, chromium, scheme):
    page = visit(port, color_scheme=scheme)
    generate(page, "a", 200, temperature=1.5)
    expect_status(page, "200 characters")
    expect(page.locator("#text .known")).to_have_count(200)
    size, counts, _ = saved(page, chromium)
    assert size == [1200, 630]
    back = "each => getComputedStyle(each).backgroundColor"
    levels = {f"s{level}": page.locator(f"#scale .s{level}").evaluate(back) for level in range(1, 6)}
    assert counts[page.locator("body").evaluate(back)] > 1200 * 630 / 2
    for level, colour in levels.items():
        assert (counts.get(colour, 0) > 300) == (page.locator(f"#text .{level}").count() > 0)
    page.uncheck("#surprisal")
    counts = saved(page, chromium)[1]
    assert max(counts.get(colour, 0) for colour in levels.values()) < 300


def test_a_long_text_is_cut_above_the_last_line_of_the_picture(visit, port, chromium):
    page = visit(port)
    rows = []
    for n in (3000, 1):
        generate(page, "", n)
        expect_status(page, f"{n} character")
        rows.append(set(saved(page, chromium)[2]))
    assert rows[0] & set(range(480, 535))
    assert not rows[1] & set(range(480, 535))
    assert not rows[0] & set(range(536, 550))
    assert rows[0] & set(range(560, 600))  # the settings


META = """(name) => document.querySelector(`meta[property="og:${name}"]`).content"""


def test_links_to_the_page_have_a_preview(visit, port):
    page = visit(port)
    assert page.evaluate(META, "title") == page.title()
    tagline, _, _ = page.evaluate(META, "description").partition(".")
    assert page.locator("header p").text_content().startswith(tagline)
