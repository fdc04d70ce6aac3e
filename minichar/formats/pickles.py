"""Read pickles of NumPy and CuPy arrays without calling any function named in them.

A pickle is a program for a stack machine, and its REDUCE opcode can call any function by name. The stack
machine in this module calls only harmless replacements that the caller provides, and rejects any other name
(see `minichar.formats.stand_ins`). Lists, tuples, dicts, numbers and strings are created as usual.

Each opcode takes constant time, plus the time to read its bytes. The memory that an opcode uses is charged to
a budget, even if the result is discarded later. Time and memory are therefore linear in the file size.
"""

import io
from collections.abc import Callable, Mapping
from sys import getsizeof
from typing import Any

from minichar.errors import Refused
from minichar.formats.budget import Budget
from minichar.formats.pickle_program import MAX_KEY, File, Program
from minichar.formats.stand_ins import Function

MAX_OPCODES = 1 << 20
MAX_ARGUMENTS = 8
HEADROOM = 64 << 20
"""Bytes of memory that a pickle may use in addition to its own size."""
SLOT_BYTES, ITEM_BYTES = 8, 128
"""Bytes of memory charged for each list or tuple element, and for each dict item or small object."""
PUSHED = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
"""Opcodes that push their argument: a number, a string or bytes."""


def run(file: File, known: Mapping[str, Any], load: Callable[[Any], Any] | None = None) -> Any:
    """Execute a pickle, close its file, and return the result.

    `known` maps the allowed global names, such as ``numpy.dtype``, to their replacements. Only a `Function`
    can be called. `load` returns the object for a persistent id; by default, persistent ids are rejected.
    Raises `Refused` if the pickle is corrupted or contains anything that is not allowed.
    """
    try:
        return Machine(known, load).run(file)
    except (OSError, Refused):
        raise
    except Exception as error:  # an invalid pickle can raise any exception
        raise Refused("it is empty, truncated or corrupted") from error


class Machine:
    """Stack machine that executes a pickle. For parameters, see `run`."""

    def __init__(self, known: Mapping[str, Any], load: Callable[[Any], Any] | None) -> None:
        self.known, self.load = known, load
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[str, Any] = {}

    def run(self, file: File) -> Any:
        """Execute all opcodes and return the top of the stack. The last opcode must be STOP."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.memory = Budget(size + HEADROOM, "its values need more memory than the file size allows")
        with Program(file, size, self.memory) as program:
            for count, (opcode, argument) in enumerate(program.opcodes()):
                if count == MAX_OPCODES:
                    raise Refused(f"it has more than {MAX_OPCODES:,} opcodes")
                if opcode in PUSHED:
                    self.push(argument)
                elif opcode != "STOP":
                    self.step(opcode, argument)
            if program.read(1):
                raise Refused("it has trailing data; a file must contain only one pickle")
        return self.stack.pop()

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode."""
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "MARK":
                self.memory.spend(getsizeof([]))
                self.marks.append(self.stack)
                self.stack = []
            case "POP":
                self.pop(1)
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                self.push_again(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memorise(argument)
            case "MEMOIZE":
                self.memorise(len(self.memo))
            case "GET" | "BINGET" | "LONG_BINGET":
                self.push_again(self.memo[str(argument)])
            case "EMPTY_LIST":
                self.push([])
            case "LIST":
                self.push(self.pop_to_mark())
            case "APPEND" | "APPENDS":
                items = self.pop(1) if opcode == "APPEND" else self.pop_to_mark()
                if not isinstance(self.stack[-1], list):
                    raise Refused("it appends to a value that is not a list")
                self.memory.spend(SLOT_BYTES * len(items))
                self.stack[-1].extend(items)
            case "EMPTY_TUPLE":
                self.push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.push(tuple(self.pop(int(opcode[-1]))))
            case "TUPLE":
                self.push(tuple(self.pop_to_mark()))
            case "EMPTY_DICT":
                self.push({})
            case "DICT":
                items = self.pop_to_mark()
                self.push({})
                self.set_items(items)
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if opcode == "SETITEM" else self.pop_to_mark()
                self.set_items(items)
            case "GLOBAL":
                self.find(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                self.find(*self.pop(2))
            case "REDUCE":
                self.call(*self.pop(2))
            case "BUILD":
                (state,) = self.pop(1)
                if not isinstance(self.stack[-1], dict):  # ignore attributes, such as PyTorch's _metadata
                    self.stack[-1].build(state)
            case "BINPERSID" if self.load is not None:
                self.push(self.load(*self.pop(1)))
            case _:
                named = f" {argument[:80]!r}" if isinstance(argument, str) else ""
                raise Refused(f"its opcode {opcode}{named} is not allowed in a pickle of arrays")

    def push(self, value: Any) -> None:
        """Push a new value."""
        self.memory.spend(getsizeof(value) + SLOT_BYTES)
        self.stack.append(value)

    def push_again(self, value: Any) -> None:
        """Push an existing value, and charge only its stack slot to the budget."""
        self.memory.spend(SLOT_BYTES)
        self.stack.append(value)

    def pop(self, n: int) -> list[Any]:
        """Pop the last `n` values, and return them in the order they were pushed."""
        values = self.stack[-n:]
        del self.stack[-n:]
        if len(values) < n:
            raise Refused("it pops more values than are on the stack")
        return values

    def pop_to_mark(self) -> list[Any]:
        """Pop and return all values above the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return values

    def memorise(self, index: int) -> None:
        """Store the top of the stack in the memo."""
        self.memory.spend(ITEM_BYTES)
        self.memo[str(index)] = self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        """Add alternating keys and values to the dict at the top of the stack.

        Integer keys are converted to strings, as in `memo`. String hashes depend on a random seed, but
        integer hashes do not, so a malicious file could contain many integer keys with the same hash.
        """
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused("it sets items on a value that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            is_short = isinstance(key, str) and len(key) <= MAX_KEY
            if not is_short and not (isinstance(key, int) and -(1 << 63) <= key < 1 << 63):
                raise Refused(
                    "it contains a dict with a key that is neither a 64-bit integer nor a string of at most "
                    f"{MAX_KEY} characters"
                )
            if str(key) in target:
                raise Refused(f"it contains a dict with the duplicate key {str(key)[:60]!r}")
            self.memory.spend(ITEM_BYTES)
            target[str(key)] = value

    def find(self, module: Any, name: Any) -> None:
        """Push the replacement for a global name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it contains a function name that is not a string")
        dotted = f"{module}.{name}"
        if dotted not in self.known:
            raise Refused(
                f"it refers to {dotted[:80]!r}; only arrays, numbers and plain containers are allowed"
            )
        self.push_again(self.known[dotted])

    def call(self, function: Any, arguments: Any) -> None:
        """Call a replacement and push its result."""
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise Refused("it calls a value that is not a function")
        if len(arguments) > MAX_ARGUMENTS:
            raise Refused(f"it calls a function with more than {MAX_ARGUMENTS} arguments")
        self.memory.spend(ITEM_BYTES)
        self.stack.append(function.call(*arguments))
