"""Write a lesson's functions with empty bodies, and grade what the reader fills in.

A lesson lists the functions in a tuple ``WRITE``: by name, or as ``module.name`` if they belong to a module
of the engine. To grade them, the lesson's tests run with functions that call the reader's version and the
original with the same arguments and compare the results. The tests continue with the original's results.
"""

import ast
import inspect
import reprlib
import runpy
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np

from minichar.cli.course import Lesson, definitions, import_pytest, pytest_options
from minichar.errors import MinicharError

TOLERANCE = 1e-7
"""Largest difference from a correct value, relative to it or, if it is below 1, absolute."""
EMPTY = ast.parse('raise NotImplementedError("write this function")').body
UNWRITTEN = "not written yet"
HEADER = '''\
"""{heading}.

Fill in the functions that raise NotImplementedError. Then run `minichar lessons {number} --blank` again in
this directory: it calls them with the arguments of the lesson's tests and compares the results with the
correct ones. `minichar lessons {number}` prints the equations.{xp}
"""

'''


@dataclass
class Grade:
    """How often the lesson's tests called a function, and a description of its first wrong result."""

    calls: int = 0
    problem: str = ""


def write_blank(lesson: Lesson, path: Path) -> None:
    """Write the functions to fill in, and what they need from the lesson."""
    tasks, known = functions(lesson), definitions(lesson.path)
    source = lesson.path.read_text(encoding="utf-8")
    body = ast.parse(source).body
    found: dict[str, ast.stmt] = {}  # every name that the lesson defines, and its definition
    for node in body:
        found |= dict.fromkeys(defined(node), node)
    wanted = [own for own, (module, _) in tasks.items() if not module]
    needed = set[ast.stmt]()
    while wanted:  # what the functions use, directly or not
        name = wanted.pop()
        if name in found and found[name] not in needed:
            needed.add(found[name])
            wanted += uses(found[name], known[name])
    read = {name.id for node in needed for name in ast.walk(node) if isinstance(name, ast.Name)}
    read = {"np", *read} - {module for module, _ in tasks.values()}  # without the functions to write
    head, parts = [], []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in read]
            head += [ast.unparse(node)] if node.names else []
    for own, (module, name) in tasks.items():
        if module:
            (function,) = ast.parse(inspect.getsource(getattr(known[module], name))).body
            parts.append(emptied(function, own))
    lines = source.splitlines()
    for node in sorted(needed, key=lambda node: node.lineno):
        whole = "\n".join(lines[node.lineno - 1 : node.end_lineno])  # with its comments
        if isinstance(node, ast.FunctionDef):
            parts.append(emptied(node, node.name) if node.name in tasks else whole)
        else:
            head.append(whole)
    blank = "\n\n\n".join(["\n".join(head), *parts])
    for own, (_, name) in tasks.items():  # in docstrings
        blank = blank.replace(f"`{name}`", f"`{own}`")
    xp = " `xp` is NumPy." * ("(xp, " in blank)
    header = HEADER.format(heading=lesson.heading, number=lesson.number, xp=xp)
    try:
        path.write_text(f"{header}{blank}\n", encoding="utf-8")
    except OSError as error:
        raise MinicharError(f"cannot write {path}: {error.strerror}") from error


def functions(lesson: Lesson) -> dict[str, tuple[str, str]]:
    """Return the functions to write: their names in the reader's file, and their modules and names.

    The module is empty for a function that the lesson itself defines.
    """
    import_pytest()
    names = definitions(lesson.path).get("WRITE", ())
    if not names:
        raise MinicharError(f"lesson {lesson.number} has no functions to fill in: do its exercise instead")
    split = {name.replace(".", "_"): name.rpartition(".") for name in names}
    return {own: (module, name) for own, (module, _, name) in split.items()}


def defined(node: ast.stmt) -> list[str]:
    """Return the names that a function definition or an assignment defines."""
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def uses(node: ast.stmt, value: Any) -> list[str]:
    """Return the names that a definition uses."""
    if isinstance(node, ast.FunctionDef):
        return [*inspect.getclosurevars(value).globals]
    return [name.id for name in ast.walk(node) if isinstance(name, ast.Name)]


def emptied(node: Any, name: str) -> str:
    """Return the source of a function without its body and annotations, under another name."""
    docstring = node.body[:1] if ast.get_docstring(node) else []
    node.name, node.body, node.returns = name, [*docstring, *EMPTY], None
    for argument in node.args.args:
        argument.annotation = None
    return ast.unparse(node)


def grade(lesson: Lesson, path: Path) -> dict[str, Grade]:
    """Grade the functions in a file, and return a grade for each."""
    pytest, tasks = import_pytest(), functions(lesson)
    try:
        written = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise MinicharError(f"cannot run {path}: {type(error).__name__}: {error}") from error
    missing = [own for own in tasks if own not in written]
    if missing:
        raise MinicharError(f"{path} has no function {missing[0]}: delete the file to write a new one")
    grades = {own: Grade() for own in tasks}
    patch = pytest.MonkeyPatch()

    class Comparing:
        """A pytest plugin that replaces the functions after the tests have been collected."""

        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            items.sort(key=lambda item: "worked_example" not in item.name)  # the reader knows its numbers
            for own, (module, name) in tasks.items():
                owner = getattr(items[0].module, module) if module else items[0].module
                original = getattr(owner, name)
                patch.setattr(owner, name, compared(written[own], original, grades[own], returned(original)))

    try:
        with redirect_stdout(StringIO()):
            pytest.main([*pytest_options(lesson), str(lesson.path)], plugins=[Comparing()])
    finally:
        patch.undo()
    for name, one in grades.items():
        own = written[name]
        called = inspect.getclosurevars(own).globals if inspect.isfunction(own) else {}
        wrong = [other for other in grades if other in called and other != name and grades[other].problem]
        if one.problem and wrong:
            one.problem += f"\n  {'note':12}it calls {wrong[0]}, which is not correct yet"
    return grades


def returned(function: Callable[..., Any]) -> Any:
    """Return the names in the last return statement of a function: one for each value of a tuple."""
    (tree,) = ast.parse(inspect.getsource(function)).body
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    return labels(values[-1]) if values else ""


def labels(value: ast.expr | None) -> Any:
    """Return the name of a returned value, a list of names for a tuple, or "" for another expression."""
    if isinstance(value, ast.Tuple):
        return [*map(labels, value.elts)]
    return value.id if isinstance(value, ast.Name) else ""


def compared(
    yours: Callable[..., Any], original: Callable[..., Any], grade: Grade, names: Any = ""
) -> Callable[..., Any]:
    """Return the original function, wrapped to call both versions and note the first difference.

    `names` are the names of the results.
    """
    running = False

    def both(*arguments: Any, **options: Any) -> Any:
        nonlocal running
        if running or grade.problem:  # the reader's function may call the engine's
            return original(*arguments, **options)
        inputs = inspect.signature(original).bind(*arguments, **options).arguments
        before, copies = ({name: copied(value) for name, value in inputs.items()} for _ in range(2))
        given = ", ".join(f"{name} = {Short().repr(value)}" for name, value in inputs.items())
        n, result, running = len(arguments), None, True
        grade.calls += 1
        try:
            values = [*copies.values()]
            result = yours(*values[:n], **{name: copies[name] for name in options})
        except NotImplementedError:
            grade.problem = UNWRITTEN
        except (Exception, SystemExit) as error:
            grade.problem = f"{type(error).__name__}{line_of(error)}: {error}"
        finally:
            running = False
        expected = original(*arguments, **options)
        if not grade.problem:
            grade.problem = difference("result", parts(result), parts(expected), names)
            for name, value in inputs.items():  # some functions change their arguments
                wrong = difference(f"argument {name}", parts(copies[name]), parts(value))
                if wrong and not difference("", parts(before[name]), parts(value)):
                    wrong = f"changes its argument {name} in place"
                grade.problem = grade.problem or wrong
        if given and grade.problem not in ("", UNWRITTEN):
            grade.problem += f"\n  {'called with':12}{given}"
        return expected

    return both


def line_of(error: BaseException) -> str:
    """Return " in line N" for the last line of the reader's file in the traceback, or "" if there is none."""
    _, *frames = extract_tb(error.__traceback__)  # this file calls the reader's
    lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
    return f" in line {lines[-1]}" if lines else ""


class Short(reprlib.Repr):
    """Short descriptions of arguments: long arrays are described by their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = 100

    def repr_ndarray(self, array: np.ndarray, level: int) -> str:
        """Describe an array."""
        long = array.ndim > 1 or array.size > self.maxlist
        return f"array {array.shape}" if long else np.array2string(array, precision=4)

    def repr_float(self, number: float, level: int) -> str:
        """Describe a number."""
        return f"{number:.4g}"

    repr_float64 = repr_float

    def repr_function(self, function: Callable[..., Any], level: int) -> str:
        """Describe a function or a module."""
        return function.__name__

    repr_module = repr_function


def copied(value: Any) -> Any:
    """Copy arrays, including those in lists and tuples."""
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def parts(value: Any) -> Any:
    """Return nested lists of arrays for a value that consists of numbers, and other values unchanged."""
    if isinstance(value, list | tuple) and not all(isinstance(one, int | float) for one in value):
        return [*map(parts, value)]
    try:
        array = np.asarray(value)
    except ValueError:
        return value
    return array if array.dtype.kind in "biufc" else value


def difference(name: str, yours: Any, expected: Any, names: Any = "") -> str:
    """Return a description of the first difference between two values, or "" if there is none.

    `names` are the names of the values: a single name, or a list of names for a list of values.
    """
    if isinstance(expected, list):
        if not isinstance(yours, list) or len(yours) != len(expected):
            return f"your {name} {count(yours)}, expected {len(expected)} values"
        names = names if isinstance(names, list) else [""] * len(expected)
        pairs = enumerate(zip(yours, expected, names, strict=True), 1)
        found = (
            difference(f"{name} {label if isinstance(label, str) and label else k}", own, value, label)
            for k, (own, value, label) in pairs
        )
        return next(filter(None, found), "")
    if not isinstance(expected, np.ndarray):
        same = callable(expected) or (type(yours) is type(expected) and yours == expected)
        return "" if same else f"your {name} is {yours!r}, expected {expected!r}"
    if not isinstance(yours, np.ndarray):
        return f"your {name} is {Short().repr(yours)}, expected an array of shape {expected.shape}"
    if yours.shape != expected.shape:
        return f"your {name} has shape {yours.shape}, expected {expected.shape}"
    yours, expected = yours * 1, expected * 1  # numbers instead of True and False
    if np.allclose(yours, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        apart = yours - expected
    shown = {"yours": yours, "expected": expected, "difference": apart}
    lines = (f"{word:12}{np.array2string(array.ravel()[:6], precision=4)}" for word, array in shown.items())
    form = f", shape {expected.shape}" * (expected.ndim > 1) + ", the first six numbers" * (expected.size > 6)
    labelled = f" ({', '.join(names)})" if isinstance(names, list) else ""
    return "\n  ".join([f"{name}{labelled}{form}", *lines])


def count(value: Any) -> str:
    """Describe a result by its shape if it is an array, otherwise by the number of values, or as None."""
    if value is None:
        return "is None"
    if isinstance(value, np.ndarray):
        return f"has shape {value.shape}"
    n = len(value) if isinstance(value, list) else 1
    return f"has {n} value{'s' * (n != 1)}"
