import xml.etree.ElementTree as ET

import pytest

from minichar.pictures.search import Axis, save_search_figure, search_text

SVG = "{http://www.w3.org/2000/svg}"
AXES = (
    Axis("loss", (1.5, 2.0, 2.5)),
    Axis("rate", (0.01, 0.001, 0.1), "log"),
    Axis("size", (64, 512, 128), "choices"),
)
IMPORTANCE = {"rate": 0.75, "size": 0.25}
PLOT = """\
rate  0.75 █████████████████████████████████████
size  0.25 ████████████

      loss                rate                size
       2.5 ┤c              0.1 ┤c              512 ┤b
           │                   │                   │
           │                   │                   │
           │                   │                   │
           │                   │                   │
           │                   │                   │
           │b                  │a              128 ┤c
           │                   │                   │
           │                   │                   │
           │                   │                   │
           │                   │                   │
           │                   │                   │
       1.5 ┤a            0.001 ┤b               64 ┤a

trials: a 7, b 0, c 3
"""


def test_heights():
    assert [axis.heights() for axis in AXES] == [
        [0, 0.5, 1],
        [pytest.approx(0.5), 0, 1],
        [0, 1, 0.5],
    ]
    assert Axis("size", (64, None, 128), "choices").heights() == [0.5, 0, 1]
    assert Axis("size", (64, None), "choices").ticks() == {0: "auto", 1: "64"}
    assert Axis("flat", (3, 3)).heights() == [0.5, 0.5]
    assert Axis("flat", (3, 3)).ticks() == {0.5: "3"}


def test_text():
    rows = search_text((7, 0, 3), AXES, IMPORTANCE, 60).splitlines()
    assert [row.rstrip() for row in rows] == [*PLOT.splitlines()]


def test_letters_that_do_not_fit_end_with_an_ellipsis():
    """A column has room for the label, the axis, and as many letters as are left, then a space."""
    for n, letters in ((7, "abcdefg"), (8, "abcdef…")):
        axes = [Axis("a", (1,) * n, "choices"), Axis("b", range(n))]
        rows = search_text(range(n), axes, {}, 40).splitlines()
        (row,) = [row for row in rows if row.startswith("         1 ┤")]
        assert row[:20] == f"         1 ┤{letters} "


def test_figure(tmp_path):
    pytest.importorskip("matplotlib")
    save_search_figure(AXES, IMPORTANCE, path := tmp_path / "x.svg")
    tree = ET.parse(path)
    words = [element.text for element in tree.iter(f"{SVG}text")]
    assert {"loss", "rate", "size", "importance", "64", "128", "512", "0.001", "0.1", "1.5", "2.5"} <= {
        *words
    }
    kinds = [element.get("id") for element in tree.iter(f"{SVG}g")]
    assert [kinds.count(kind) for kind in ("best", "trial")] == [1, 2]
