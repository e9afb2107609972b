"""Dataclasses whose fields are checked where they are made, and the types of such fields.

A rule stands in a field's type, as in `threshold: Probability = 0.2`, so that name, type, default
and what is allowed are one line.
"""

import dataclasses
import difflib
import math
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np

from sassn_jax.errors import InputError

# What is expected of a field by its class, where no rule says more.
KINDS = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "a tuple, such as (1, 2)",
}
MOST_PIXELS = 2**27  # of a size that a config names, which may be a stranger's
T = TypeVar("T")


class Rule(NamedTuple):
    """What a field may be, for the program and for people."""

    is_valid: Callable[[Any], bool]
    expected: str


def at_least(minimum: int) -> Rule:
    """The rule for a whole number with a minimum."""
    return Rule(
        lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= minimum,
        f"a whole number of at least {minimum}",
    )


def one_of(names: Collection[str]) -> Rule:
    """The rule for a field that names something."""
    return Rule(lambda x: x in tuple(names), f"one of {', '.join(names)}")


def whole_numbers(x: Iterable[Any], minimum: int) -> bool:
    """Whether all are whole numbers of at least `minimum`."""
    return all(map(at_least(minimum).is_valid, x))


Whole = Annotated[int, at_least(0)]
Count = Annotated[int, at_least(1)]
Switch = Annotated[bool, Rule(lambda x: isinstance(x, bool), "True or False")]
Probability = Annotated[float, Rule(lambda x: 0 <= x <= 1, "a number from 0 to 1")]
Decay = Annotated[float, Rule(lambda x: 0 <= x < 1, "a number of at least 0 and below 1")]
Positive = Annotated[float, Rule(lambda x: 0 < x < math.inf, "a number above 0")]
NotNegative = Annotated[float, Rule(lambda x: 0 <= x < math.inf, "a number of at least 0")]
SizeOrNothing = Annotated[
    tuple[int, ...],
    Rule(
        lambda x: len(x) in (0, 2) and whole_numbers(x, 1) and math.prod(x) <= MOST_PIXELS,
        "(), or height and width, each at least 1 pixel, and at most "
        f"{MOST_PIXELS:,} pixels in all",
    ),
]


class Checked:
    """The base of a frozen dataclass that checks its fields by their types and the rules in them.

    A list becomes a tuple, a path text, and a number of NumPy one of Python.

    Raises:
      InputError: naming the first field that is wrong.
    """

    __no_type_check__ = True  # by others at run time, who would come before with errors of theirs

    def __post_init__(self) -> None:
        """Checks every field."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _checked(field.name, getattr(self, field.name), field.type)
            object.__setattr__(self, field.name, value)


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Returns the value of a field of this type as `Checked` stores it."""
    value = _plain(value)
    if reason := _unusable(value):
        raise InputError(f"{name}={value!r:.100}: {reason}")
    kind, rules = _parts(hint)
    for rule in rules:
        check_rule(name, value, rule)
    if not _is_of(kind, value):
        expected = KINDS.get(kind, "its fields, each with a value")
        raise InputError(f"{name}={value!r:.300}: expected {expected}")
    if kind is tuple and (strange := [x for x in value if not _is_of(_element(hint), x)]):
        expected = KINDS.get(_element(hint), _element(hint).__name__)
        raise InputError(f"{name}={value!r:.300}: {strange[0]!r:.100} in it is not {expected}")
    return value


def _is_of(kind: type, value: Any) -> bool:
    """Whether a value is of a class; a whole number is a float too, and True no number."""
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _element(hint: Any) -> type:
    """Returns the class of the elements of a tuple's type, which are all of one class."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    return typing.get_args(hint)[0]


def _plain(value: Any) -> Any:
    """Returns a list as a tuple, a path as text, and a number of NumPy as one of Python."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _unusable(value: Any) -> str:
    """Returns why no field can have a value, which may be from a stranger; empty if one can."""
    if isinstance(value, tuple):
        return next(filter(None, map(_unusable, value)), "")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number of more than 64 bits"
    if isinstance(value, str):
        try:
            is_text = b"\0" not in value.encode(errors="surrogateescape")  # as paths can be
        except UnicodeError:
            is_text = False
        return "" if is_text else "expected text, without NUL and halves of characters"
    return ""


def _parts(hint: Any) -> tuple[type, tuple[Rule, ...]]:
    """Returns the class in the type of a field, and the rules beside it."""
    rules: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rules = typing.get_args(hint)  # type: ignore[assignment]
    return typing.get_origin(hint) or hint, tuple(rules)


def check_rule(name: str, value: Any, rule: Rule) -> None:
    """Checks one field.

    Raises:
      InputError: saying what it is and what it may be.
    """
    try:
        is_valid = rule.is_valid(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        is_valid = False
    if not is_valid:
        raise InputError(f"{name}={value!r:.300}: expected {rule.expected}")


def make(kind: type[T], values: Any, path: str = "") -> T:
    """Makes a dataclass, and those inside it, from a mapping such as JSON or a `ConfigDict` holds.

    Args:
      kind: the dataclass. A field that has a dataclass as its type is made from a mapping, too.
      values: a mapping by the fields' names; an absent field has its default.
      path: what stands before the fields' names in messages, such as `model.`.

    Raises:
      InputError: for a name that is no field, or a value that is not allowed.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{path[:-1]}={values!r:.300}: expected its fields, each with a value")
    hints = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    groups = {name for name, hint in hints.items() if dataclasses.is_dataclass(_parts(hint)[0])}
    for name in values:
        if name not in hints:
            raise unknown(path + name, [path + known for known in hints])
    try:
        # Before the groups: a field in a group may follow one that stands outside.
        arguments = {
            name: _checked(name, value, hints[name])
            for name, value in values.items()
            if name not in groups
        }
    except InputError as error:
        raise InputError(f"{path}{error}") from None
    for name, value in values.items():
        if name in groups:
            arguments[name] = make(_parts(hints[name])[0], value, f"{path}{name}.")
    try:
        return kind(**arguments)
    except InputError as error:
        raise InputError(f"{path}{error}") from None


def unknown(name: str, known: Collection[str]) -> InputError:
    """Returns the error for a name that no field has, with the most similar one that there is."""
    similar = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {similar[0]}?" if similar else f"expected one of {', '.join(known)}"
    name = name if name.isprintable() else repr(name)  # JSON from a stranger can have any
    return InputError(f"{name:.200}: the config has no such field; {hint}")
