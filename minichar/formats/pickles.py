"""Pickles that hold arrays, CuPy's among them: read, never unpickled.

A pickle is a program for a stack machine, and its instruction REDUCE calls whatever function
the file names. The machine here calls none: `pickletools` takes the program apart, and a
name must be one that `minichar.formats.stand_ins` knows, which puts a few lines of ours in
its place. Lists, tuples, dicts, numbers and text are built as usual. Bytes come from the
file, so no array is larger than it, and instructions are counted.
"""

import pickletools
from pathlib import Path
from typing import Any

from minichar.errors import MinicharError
from minichar.formats.stand_ins import KNOWN, Refused, known

MAX_BYTES = 4 << 30
MAX_INSTRUCTIONS = 1 << 20
PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""The instructions that push their own argument."""


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds: containers, numbers, text, and each array as an `Array`.

    Raises
    ------
    MinicharError
        If the file cannot be read, is damaged, too large, or names anything but arrays and containers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refused(f"it is larger than {MAX_BYTES:,} bytes")
        return Machine().run(path.read_bytes())
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise MinicharError(f"{path} is no pickle of arrays minichar can read: {error}") from error
    except Exception as error:  # there is no end to what a program of nonsense can do wrong
        raise MinicharError(
            f"{path} is no pickle of arrays minichar can read: it is empty, truncated or damaged"
        ) from error


class Machine:
    """The stack machine that a pickle is a program for; `run` returns what it leaves."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Run the instructions up to STOP, which must be the end."""
        for count, (opcode, argument, position) in enumerate(pickletools.genops(program)):
            if count == MAX_INSTRUCTIONS:
                raise Refused(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
            if opcode.name in PUSHED:
                self.push(argument)
            elif opcode.name != "STOP":
                self.step(opcode.name, argument)
            elif position != len(program) - 1:
                raise Refused("it goes on after its end; only one pickle a file is read")
        return self.stack.pop()

    def step(self, instruction: str, argument: Any) -> None:
        """Do what one instruction says."""
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction])
            case "MARK":
                self.marks.append(self.stack)
                self.stack = []
            case "POP":
                self.pop(1)
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                self.push(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.push(self.memo[argument])
            case "EMPTY_LIST":
                self.push([])
            case "LIST":
                self.push(self.pop_to_mark())
            case "APPEND" | "APPENDS":
                items = self.pop(1) if instruction == "APPEND" else self.pop_to_mark()
                self.stack[-1].extend(items)
            case "EMPTY_TUPLE":
                self.push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.push(tuple(self.pop(int(instruction[-1]))))
            case "TUPLE":
                self.push(tuple(self.pop_to_mark()))
            case "EMPTY_DICT":
                self.push({})
            case "DICT":
                self.push(with_items({}, self.pop_to_mark()))
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if instruction == "SETITEM" else self.pop_to_mark()
                with_items(self.stack[-1], items)
            case "GLOBAL":
                self.push(known(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.push(known(*self.pop(2)))
            case "REDUCE":
                name, arguments = self.pop(2)
                self.push(KNOWN[name.dotted](*arguments))
            case "BUILD":
                (state,) = self.pop(1)
                self.stack[-1].build(state)
            case _:
                named = f" {argument[:80]!r}" if isinstance(argument, str) else ""
                raise Refused(f"its instruction {instruction}{named} is none that arrays need")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self, n: int) -> list[Any]:
        """Take the last `n` values off the stack."""
        values = self.stack[-n:]
        del self.stack[-n:]
        if len(values) < n:
            raise Refused("it takes more off its stack than is there")
        return values

    def pop_to_mark(self) -> list[Any]:
        """Take all values off the stack down to the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return values


def with_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Set keys and values, which alternate; a key is text or a number, so that its hash is quick."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 63):
            raise Refused("a dict in it has a key that is neither text nor a small number")
        target[key] = value
    return target
