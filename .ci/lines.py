"""Count the code lines of the package, room by room, and fail if there are more than limits.txt allows.

    python .ci/lines.py            print the counts and the limits
    python .ci/lines.py --lower    also lower the limits to the counts

A room is a folder directly under minichar/. A line of Python counts if it contains part of a token that is
neither a comment nor a docstring. A line of another language counts if it is neither blank nor part of a
comment that starts its line.
"""

import ast
import re
import sys
import tokenize
from collections import Counter
from io import StringIO
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "minichar"
LIMITS = Path(__file__).with_name("limits.txt")
FREE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
)
COMMENT = re.compile(r"^[ \t]*(//.*?$|/\*.*?\*/|<!--.*?-->)", re.DOTALL | re.MULTILINE)


def python_lines(source: str) -> int:
    """Return the number of code lines of a Python file."""
    lines = set()
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in FREE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):  # a docstring
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def other_lines(source: str) -> int:
    """Return the number of code lines of a file in another language."""
    return sum(bool(line.strip()) for line in COMMENT.sub("", source).splitlines())


def count() -> Counter:
    """Return the number of code lines of each room, of the files in no room, and of each language."""
    found = Counter()
    for path in PACKAGE.rglob("*.*"):
        room, *below = path.relative_to(PACKAGE).parts
        if path.suffix == ".py":
            lines = python_lines(path.read_text("utf-8"))
            found.update({room if below else "root": lines, "Python": lines})
        elif path.parent.name != "__pycache__":
            found[path.suffix[1:]] += other_lines(path.read_text("utf-8"))
    return +found


def main() -> int:
    """Print a table, and return the exit status."""
    found = count()
    limits = {name: int(limit) for name, limit in map(str.split, LIMITS.read_text("utf-8").splitlines())}
    if "--lower" in sys.argv:
        limits = {name: min(found[name], limit) for name, limit in limits.items() if found[name]}
        LIMITS.write_text("".join(f"{name} {limit}\n" for name, limit in limits.items()), "utf-8")
    above = [name for name in found if found[name] > limits.get(name, 0)]
    print(f"{'':12}{'lines':>8}{'limit':>8}")
    for name in sorted(found):
        print(f"{name:12}{found[name]:>8}{limits.get(name, 0):>8}{'  too many' * (name in above)}")
    if above:
        print("Let go of as many lines as the change adds: see What a line costs in CONTRIBUTING.md")
    return int(bool(above))


if __name__ == "__main__":
    sys.exit(main())
