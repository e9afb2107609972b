"""The pickle in a `.pth` file, read without Python's unpickler.

A pickle is a program for a machine with a stack. Python's unpickler runs every program: one can
call any function, fill the memory with 9 bytes (by a memo of 2^28 places), or run for ever (by keys
that are tuples of tuples). The machine here knows only what a state dict needs, takes time and
memory in proportion to the file, and calls only functions of ours.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MOST = 2**21  # instructions: a state dict has about 40 for each tensor
# Instructions that push the value that stands in them, and others that push a constant.
_VALUES = (
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "UNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(
    file: io.BytesIO,
    known: Mapping[tuple[str, str], Any],
    persistent: Callable[[Any], Any],
) -> Any:
    """Returns the object that the next pickle in a file describes.

    Attributes that a pickle gives to an object are left out.

    Args:
      file: is read up to the end of the pickle.
      known: what stands for a name, by module and name. Functions in it are called by the pickle
        with any arguments.
      persistent: returns what stands for a persistent id, which can be any object.

    Raises:
      ValueError, IndexError, TypeError: if the pickle is damaged, is too long, or holds what no
        state dict needs.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    def look_up(module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in known:
            raise ValueError(
                f"it refers to {module}.{name}, which no tensor needs; save the state_dict alone"
            )
        return known[module, name]

    argument: Any
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number > MOST:
            raise ValueError(f"it has more than {MOST} instructions; save the state_dict alone")
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in _TUPLES:
            if len(stack) < _TUPLES[name]:
                raise ValueError("a tuple of more than there is")
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("APPEND", "APPENDS"):
            values = since_mark() if name == "APPENDS" else [stack.pop()]
            _expect(stack[-1], list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            set_items(_expect(stack[-1], dict), zip(values[::2], values[1::2], strict=True))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(look_up(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(look_up(stack.pop(-2), stack.pop()))
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name == "REDUCE":
            arguments = _expect(stack.pop(), tuple)
            stack.append(stack.pop()(*arguments))
        elif name == "BUILD":
            stack.pop()
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"it has {name}, which no tensor needs; save the state_dict alone")
    raise ValueError("cut short")


def set_items(target: dict[Any, Any], items: Any) -> None:
    """Adds keys and values to a dict.

    Raises:
      ValueError: if a key is neither text nor a number, since the hash of others can take for ever.
    """
    for key, value in items:
        if not isinstance(key, str | int):
            raise ValueError(f"a key of type {type(key).__name__}, expected names")
        target[key] = value


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {kind.__name__} is expected, and there is a {type(value).__name__}")
    return value
