"""The page for lecturers."""

from collections.abc import Iterable

from minichar.cli.course import Lesson

PAGE = """\
# For lecturers

The course fits into two weeks with five 90-minute lectures each. It requires Python, NumPy, and first-year
calculus and linear algebra; probability is introduced as needed. The minutes for lessons 0, 1, 4, 8, 11 and
18 are those that one reader took for the chapter and its exercise. The others are estimated from the length
of the chapter and that reader's mean speed, rounded up to 5. The slides contain the equations, the figures
and the outputs of the chapters; press Page Down to advance.

| lesson | needs | minutes | material |
|---|---|---|---|
{rows}

## Two weeks

| day | first week | second week |
|---|---|---|
| Monday | 0 to 2: counting, one weight, a gradient check | 10 and 11: vanishing gradients, the LSTM |
| Tuesday | 3 and 4: nonlinearities, the complex step | 12 and 13: the GRU, initialisation and layer norm |
| Wednesday | 5 and 6: softmax, linear layers and batches | 14 and 15: dropout, scheduled sampling |
| Thursday | 7 and 8: one RNN step, backpropagation through time | 16 and 17: RMSprop, sampling |
| Friday | 9 and [the model in one file](../one-file.md) | 18: it writes; presentation of the projects |

## Assignments

`minichar lessons 11 --blank` writes `lesson_11.py` with functions to fill in. The same command grades the
file: it calls each function with the arguments of the lesson's tests and shows the first wrong result, the
correct one and the difference. The exit status is 0 if all functions are correct. To disable `--answer`,
set the environment variable `MINICHAR_ANSWERS` to 0. Each chapter is also a notebook, which installs
minichar where it is missing, such as on Colab.

## A project

Students design [a cell of their own](../howto/own-cell.md): the equations, the backward pass, and a gradient
check below 1e-13. They train it and the LSTM on the same text with the same number of parameters, report the
validation losses of three seeds each, and show the unit that they understand best with `minichar inspect`.
"""
NEEDS = {
    1: "",
    2: "1",
    3: "1, 2",
    4: "2",
    5: "0, 1, 4",
    6: "1, 4",
    7: "3, 6",
    8: "7",
    9: "8",
    10: "8",
    11: "3, 7, 10",
    12: "11",
    13: "10",
    14: "6",
    15: "5, 8",
    16: "1",
    17: "5",
    18: "0 to 17",
}
"""Lessons that each lesson builds on."""


def lecturers(lessons: Iterable[tuple[Lesson, str, int]]) -> str:
    """Return the page for lecturers. A lesson comes with the name of its page and its minutes."""
    rows = (
        f"| [{lesson.number}. {lesson.title}]({page}.md) | {NEEDS.get(lesson.number, '')} | {minutes} | "
        f'<a href="../slides/{page}.html">slides</a>, {{download}}`notebook <../notebooks/{page}.ipynb>` |'
        for lesson, page, minutes in lessons
    )
    return PAGE.format(rows="\n".join(rows))
