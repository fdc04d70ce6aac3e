import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from toys import history_with

from minichar.pictures import figure
from minichar.pictures.curves import Curve
from minichar.pictures.figure import save_figure
from minichar.text.ngram import Yardstick

SVG = "{http://www.w3.org/2000/svg}"
VALUES = {
    "epoch": (1.0, 2.0, 3.0),
    "train_loss": (5.0, 3.0, 2.0),
    "val_loss": (4.0, 2.5, 3.5),
    "learning_rate": (0.02, 0.01, 0.01),
    "teacher_forcing_ratio": (1.0, 0.9, 0.8),
}
YARDSTICK = Yardstick(6, 3.25, 9)
CURVE = Curve("x", history_with(**VALUES), YARDSTICK)
SHORT = Curve("y", history_with(val_loss=[None]), YARDSTICK)


@pytest.fixture
def drawn(tmp_path):
    """Return a function that plots curves and returns ``(points, marks)``, which find shapes by kind."""
    pytest.importorskip("matplotlib")

    def drawn(*curves):
        path = tmp_path / "x.svg"
        save_figure(curves, path)
        tree = ET.parse(path)

        def points(kind):
            lines = [group for group in tree.iter(f"{SVG}g") if group.get("id") == kind]
            numbers = [re.findall(r"-?[\d.]+", line.find(f"{SVG}path").get("d")) for line in lines]
            return [[(float(x), -float(y)) for x, y in zip(n[::2], n[1::2], strict=True)] for n in numbers]

        def marks(kind):
            groups = [group for group in tree.iter(f"{SVG}g") if group.get("id") == kind]
            return [(float(u.get("x")), -float(u.get("y"))) for g in groups for u in g.iter(f"{SVG}use")]

        return points, marks

    return drawn


LINES = {
    "training": "train_loss",
    "validation": "val_loss",
    "rate": "learning_rate",
    "ratio": "teacher_forcing_ratio",
}


def test_lines_are_proportional_to_the_values_and_the_best_loss_is_marked(drawn, tmp_path):
    """Each run with validation has a line and a mark, a single measurement is visible, and the yardstick is
    drawn once.
    """
    points, marks = drawn(CURVE, CURVE, SHORT)
    for kind, name in LINES.items():
        line, values = points(kind)[0], VALUES[name]
        xs, ys = zip(*line, strict=True)
        assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
        share = (values[1] - values[0]) / (values[2] - values[0])
        assert ys[1] - ys[0] == pytest.approx((ys[2] - ys[0]) * share)
        assert (ys[1] < ys[0]) == (values[1] < values[0])
    training, validation = points("training")[0], points("validation")[0]
    unit = (training[0][1] - training[1][1]) / 2  # both losses share one scale
    assert training[0][1] - validation[0][1] == pytest.approx(unit, rel=1e-4)
    assert marks("best") == [pytest.approx(validation[1])] * 2
    assert len(points("validation")) == 2
    assert len(marks("training")) == 3 + 3 + 1
    text = (tmp_path / "x.svg").read_text()
    assert text.count('<g id="yardstick">') == 1
    assert "yardstick 3.250 (6-gram)" in text


def test_many_measurements_have_no_marks(drawn, monkeypatch):
    """Otherwise, a figure of a million measurements has hundreds of megabytes."""
    monkeypatch.setattr(figure, "MARKED", 10)
    losses = 1.0 + np.arange(11) % 2
    _, marks = drawn(*(Curve("", history_with(train_loss=x, val_loss=x)) for x in (losses, losses[:10])))
    for kind in LINES:
        assert len(marks(kind)) == 10


def test_yardsticks_of_different_texts_are_named_after_their_runs(tmp_path):
    pytest.importorskip("matplotlib")
    runs = (CURVE, SHORT, CURVE._replace(name="z", yardstick=Yardstick(5, 2.0, 9)))
    save_figure(runs, tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert "yardstick 3.250 (6-gram) of x, y<" in text.replace(" -->", "<")
    assert "yardstick 2.000 (5-gram) of z<" in text.replace(" -->", "<")
    lines = re.findall(r'<g id="yardstick">.*?stroke: (#\w+)', text, re.DOTALL)
    assert lines == [figure.COLOURS[0], figure.COLOURS[2]]
