"""Read pickles of NumPy and CuPy arrays without unpickling them.

A pickle is a program for a stack machine, and its REDUCE instruction can call any function by name.
The stack machine in this module never calls these functions. It parses the program with `pickletools` and
allows only names for which `minichar.formats.stand_ins` has a harmless replacement. Lists, tuples, dicts,
numbers and strings are created as usual. Array data is taken from the file, so no array is larger than the
file, and the number of instructions is limited.
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
"""Instructions that push their argument."""


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle: containers, numbers, strings, and an `Array` for each array.

    Raises
    ------
    MinicharError
        If the file cannot be read, is damaged or too large, or refers to anything except arrays and
        containers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refused(f"it is larger than {MAX_BYTES:,} bytes")
        return Machine().run(path.read_bytes())
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise MinicharError(f"{path} is not a pickle of arrays that minichar can read: {error}") from error
    except Exception as error:  # an invalid program can raise any exception
        raise MinicharError(
            f"{path} is not a pickle of arrays that minichar can read: it is empty, truncated or damaged"
        ) from error


class Machine:
    """Stack machine that executes a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Execute all instructions and return the top of the stack. The last instruction must be STOP."""
        for count, (opcode, argument, position) in enumerate(pickletools.genops(program)):
            if count == MAX_INSTRUCTIONS:
                raise Refused(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
            if opcode.name in PUSHED:
                self.push(argument)
            elif opcode.name != "STOP":
                self.step(opcode.name, argument)
            elif position != len(program) - 1:
                raise Refused("it has trailing data; a file must contain only one pickle")
        return self.stack.pop()

    def step(self, instruction: str, argument: Any) -> None:
        """Execute one instruction."""
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
                raise Refused(f"its instruction {instruction}{named} is not allowed in a pickle of arrays")

    def push(self, value: Any) -> None:
        """Push a value."""
        self.stack.append(value)

    def pop(self, n: int) -> list[Any]:
        """Pop the last `n` values, in the order in which they were pushed."""
        values = self.stack[-n:]
        del self.stack[-n:]
        if len(values) < n:
            raise Refused("it pops more values than are on its stack")
        return values

    def pop_to_mark(self) -> list[Any]:
        """Pop all values down to the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return values


def with_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Add alternating keys and values. Keys must be strings or small ints, which are fast to hash."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 63):
            raise Refused("it contains a dict with a key that is neither a string nor a 64-bit integer")
        target[key] = value
    return target
