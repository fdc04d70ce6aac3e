import re

import pytest
from toys import history_with

from minichar.pictures.curves import Curve
from minichar.pictures.terminal import text_plot
from minichar.text.ngram import Yardstick


def curve(name, train, val, epochs=None, **columns):
    epochs = epochs or range(1, len(train) + 1)
    rates = [0.01 / epoch for epoch in epochs]
    columns |= {"epoch": epochs, "train_loss": train, "val_loss": val, "learning_rate": rates}
    return Curve(name, history_with(**columns))


def place(plot, mark):
    """Return the ``(row, column)`` of every `mark` in the plotting area."""
    area = plot.split("└")[0].splitlines()[1:]
    return [(row, match.start()) for row, line in enumerate(area) for match in re.finditer(mark, line)]


def test_losses_increase_upwards_and_epochs_to_the_right():
    plot = text_plot([curve("x", (5.0, 5.0, 5.0), (4.0, 1.0, 2.0))], width=60, height=9)
    (first, best, last) = place(plot, "[aA]")[0], place(plot, "A")[0], place(plot, "a")[1]
    assert [row for row, _ in (first, last, best)] == sorted({2, 8, 6})
    assert first[1] < best[1] < last[1]
    assert best[1] - first[1] == last[1] - best[1]
    assert [row for row, _ in place(plot, "·")] == [0, 0, 0]


def test_the_axes_have_labels():
    plot = text_plot([curve("x", (5.0, 4.0), (4.0, 1.0))], height=9)
    assert [float(label) for label in re.findall(r"([\d.]+) ┤", plot)] == [5.0, 3.0, 1.0]
    assert re.search(r"^ +0 +epoch 2$", plot, re.MULTILINE)
    short = curve("x", (5.0, 4.0), (4.0, 1.0), epochs=(2.5, 5.34091))
    assert re.search(r"^ +0 +epoch 5\.34$", text_plot([short]), re.MULTILINE)


@pytest.mark.parametrize(
    ("high", "low", "labels"),
    [
        (1.3881, 1.3879, ["1.3881", "1.3880", "1.3879"]),
        (4e-5, 2e-5, ["0.00004", "0.00003", "0.00002"]),
        (2.0, 2.0, ["2.000"]),
        (5000.0, 1000.0, ["5000.000", "3000.000", "1000.000"]),
    ],
)
def test_the_labels_differ_and_are_aligned(high, low, labels):
    plot = text_plot([curve("x", (high, low), (high, low))], height=9)
    assert re.findall(r"([\d.]+) ┤", plot) == labels
    assert len({line.index("│" if "│" in line else "┤") for line in plot.splitlines()[1:10]}) == 1
    assert max(map(len, plot.split("\n\n")[0].splitlines())) <= 80


def test_the_legend_lists_every_run_with_its_best_loss():
    sampled = curve("two", (3.0, 3.0), (None, None), teacher_forcing_ratio=(1.0, 0.5))
    plot = text_plot([curve("one", (5.0, 4.0), (4.0, 1.0)), sampled])
    assert "a  one: validation, best 1.0000 at epoch 2.00 (A); · training, last 4.0000\n" in plot
    assert "   learning rate 0.01 → 0.005\n" in plot
    assert "   learning rate 0.01 → 0.005, teacher-forcing ratio 1 → 0.5" in plot
    assert "b  two: no validation loss; · training, last 3.0000\n" in plot
    assert not place(plot, "[bB]")


def test_a_best_loss_is_drawn_over_validation_and_training():
    """In this plot, every training loss coincides with a validation loss."""
    plot = text_plot([curve("x", (3.0, 2.0), (2.0, 1.0)), curve("y", (3.0, 1.0), (3.0, 2.0))], height=9)
    assert [row for row, _ in place(plot, "A")] == [8]
    assert [row for row, _ in place(plot, "B")] == [4]
    assert len(place(plot, "·")) == 0


def test_single_and_equal_measurements_are_plotted():
    """The last one precedes the first step."""
    for n in (1, 2):
        plot = text_plot([curve("x", (2.0,) * n, (2.0,) * n)], height=9)
        assert [row for row, _ in place(plot, "[aA]")] == [4] * n
        assert "2.000 ┤" in plot.splitlines()[1 + 4]
    plot = text_plot([Curve("x", history_with(epoch=[0.0], val_loss=[2.0]))], height=9)
    assert place(plot, "A") == [(0, 8)]
    plot = text_plot([curve("x", (2 + 4e-16, 2.0), (2 + 4e-16, 2.0))])
    assert len(re.findall("2[.]0+.* ┤", plot)) == 3


def test_marks_are_at_the_nearest_row_and_column():
    """The area has 41 columns, for the epochs 0 to 10, and 9 rows, for the losses 5 to 1."""
    plot = text_plot([curve("x", (5.0, 5.0), (1.2, 1.0), epochs=(4.95, 10.0))], width=49, height=9)
    assert place(plot, "[aA]") == [(8, 8 + 20), (8, 8 + 40)]


def test_the_yardstick_is_a_dashed_line():
    """It is drawn below all other marks, and once if several runs share it."""
    runs = [curve(name, (5.0, 5.0), (4.0, 1.0))._replace(yardstick=Yardstick(6, 3.0, 9)) for name in "xy"]
    plot = text_plot(runs, width=60, height=9)
    assert {row for row, _ in place(plot, "-")} == {4}
    assert len(place(plot, "-")) == 26
    assert plot.count("yardstick") == 1
    assert "\n-  yardstick 3.000 (6-gram)\n" in plot
    different = text_plot([*runs, runs[0]._replace(yardstick=Yardstick(5, 2.0, 9))])
    assert "\n-  yardstick 3.000 (6-gram) of a, b\n-  yardstick 2.000 (5-gram) of c\n" in different
    lower = text_plot([runs[0]._replace(yardstick=Yardstick(6, 0.5, 9))], height=9)
    assert {row for row, _ in place(lower, "-")} == {8}, "the axis includes it"
    assert "-" not in text_plot([curve("x", (5.0,), (4.0,))]).replace("teacher-forcing", "")


def test_several_runs_are_compared():
    runs = [
        curve("slow", (3.0,), (2.0,))._replace(parameters=12345, seconds=3675.0),
        curve("none", (3.0,), (None,))._replace(parameters=7),
        curve("山", (3.0,), (1.5,))._replace(parameters=2000, seconds=30.0),
    ]
    table = text_plot(runs).split("\n\n")[-1].splitlines()
    assert [line.split() for line in table[1:]] == [
        ["c", "1.5000", "2,000", "0.5", "山"],
        ["a", "2.0000", "12,345", "61.2", "slow"],
        ["b", "-", "7", "-", "none"],
    ]
    ends = [
        [match.end() for match in re.finditer(r"\S+", line)][-4:-1] for line in (table[0][4:], table[2][4:])
    ]
    assert ends[0][1:] == ends[1][1:], "numbers are below their headings"
    assert "minutes" not in text_plot(runs[:1])
