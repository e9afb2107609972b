"""Fields that check themselves, and dataclasses made from what JSON holds."""

import dataclasses
import math
from typing import Annotated

import pytest

from sassn_jax.errors import InputError
from sassn_jax.fields import (
    Checked,
    Count,
    Decay,
    NotNegative,
    Positive,
    Probability,
    SizeOrNothing,
    Switch,
    Whole,
    make,
    one_of,
)


@dataclasses.dataclass(frozen=True)
class Inner(Checked):
    share: Probability = 0.5
    size: SizeOrNothing = ()


@dataclasses.dataclass(frozen=True)
class Outer(Checked):
    name: Annotated[str, one_of(("a", "b"))] = "a"
    count: Count = 1
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Whole, (0, 7), (-1, 1.0, True, "1", None)),
        (Count, (1, 7), (0, 1.5, False)),
        (Switch, (True, False), (0, 1, "True")),
        (Probability, (0, 0.5, 1), (-0.1, 1.1, math.nan, "x")),
        (Decay, (0, 0.99), (1, -0.1, math.nan)),
        (Positive, (1e-9, 3), (0, -1, math.inf, math.nan)),
        (NotNegative, (0, 3.5), (-1e-9, math.inf, None)),
        (SizeOrNothing, ((), (1, 2)), ((1,), (0, 1), (1.5, 2), 3)),
    ],
)
def test_what_a_type_allows(kind, good, bad):
    group = dataclasses.make_dataclass("Group", [("x", kind)], bases=(Checked,), frozen=True)
    for value in good:
        assert group(value).x == value
    for value in bad:
        with pytest.raises(InputError, match=r"^x=.*: expected "):
            group(value)


def test_made_from_json():
    assert make(Outer, {}) == Outer()
    made = make(Outer, {"name": "b", "inner": {"size": [3, 4]}})
    assert made == Outer("b", inner=Inner(size=(3, 4)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "c"}, "name='c': expected one of a, b"),
        ({"inner": {"share": 2}}, "inner.share=2: expected a number from 0 to 1"),
        ({"inner": 3}, "inner=3: expected its fields, each with a value"),
        ({"conut": 3}, "conut: the config has no such field; did you mean count?"),
        ({"inner": {"sharing": 3}}, "inner.sharing: the config has no such field; did you mean"),
        ({"zzz": 3}, "zzz: the config has no such field; expected one of name, count, inner"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(values, message):
    with pytest.raises(InputError) as error:
        make(Outer, values)
    assert str(error.value).startswith(message)


@dataclasses.dataclass(frozen=True)
class Listed(Checked):
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (1.0, 2.0)
    count: int = 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"names": [{}]}, "names=.*: {} in it is not text"),
        ({"names": ["a", 1]}, "names=.*: 1 in it is not text"),
        ({"names": ["a", ["b"] * 1000]}, "names=.* in it is not text"),
        ({"pair": [1, "2"]}, "pair=.*: '2' in it is not a number"),
        ({"names": ["a\0b"]}, "names=.*: expected text, without NUL"),
        ({"names": ["\ud800"]}, "names=.*: expected text, without NUL and halves of characters"),
        ({"count": 2**63}, "count=.*: a whole number of more than 64 bits"),
        ({"count": 10**4000}, "count=.*: a whole number of more than 64 bits"),
    ],
)
def test_what_only_a_stranger_would_write_is_refused(values, message):
    with pytest.raises(InputError, match=f"^{message}") as error:
        make(Listed, values)
    assert len(str(error.value)) < 500


def test_tuples_hold_what_their_type_says():
    listed = make(Listed, {"names": ["a", "b"], "pair": [1, 2.5], "count": 2**63 - 1})
    assert (listed.names, listed.pair) == (("a", "b"), (1, 2.5))


def test_a_strange_name_of_a_field_is_shown_in_one_line():
    with pytest.raises(InputError, match=r"^'a\\nb': the config has no such field") as error:
        make(Listed, {"a\nb": 1})
    assert "\n" not in str(error.value)
