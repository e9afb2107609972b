"""Checks of arguments and config fields."""

import pytest

from sassn_jax.errors import InputError, check, check_name, one_line


def test_a_wrong_value_is_named_with_what_is_expected():
    check(True, "batch_size", 4, "a positive number")
    with pytest.raises(InputError, match=r"^batch_size=0: expected a positive number$"):
        check(False, "batch_size", 0, "a positive number")


def test_a_wrong_name_is_named_with_those_that_are_allowed():
    check_name("model.head", "fcn", ("fcn", "aspp"))
    with pytest.raises(InputError, match=r"^model\.head='x': expected one of fcn, aspp on vgg16$"):
        check_name("model.head", "x", ("fcn", "aspp"), " on vgg16")


def test_a_text_of_several_lines_becomes_one():
    assert one_line(ValueError("one\n  two ")) == "one two"
