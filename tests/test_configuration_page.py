"""The page that lists the fields of a config has each of them, as the code has it."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Annotated, Any

from sassn_jax import data
from sassn_jax.config import Config
from sassn_jax.fields import Rule
from sassn_jax.methods import METHODS, settings_types
from sassn_jax.models.attention import IMPLEMENTATIONS
from sassn_jax.models.generator import ATTENTION_SITES
from sassn_jax.models.layers import NORMS
from sassn_jax.models.networks import BACKBONES, heads_on
from sassn_jax.models.resnet import LAYOUTS

PAGE = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
# Fields that the code checks elsewhere than in their types; free text is not listed.
NAMES = {
    "method": METHODS,
    "dataset": ("scenes", *data.PREPARED),
    "model.backbone": BACKBONES,
    "model.head": (*heads_on("resnet101"), *heads_on("vgg16")),
    "model.attention": ("()", str(ATTENTION_SITES), "()"),
    "model.attention_implementation": IMPLEMENTATIONS,
    "model.norm": NORMS,
    "model.layout": LAYOUTS,
}


def rows() -> list[list[str]]:
    """The cells of the rows about fields: name, default, allowed, meaning."""
    lines = re.findall(r"^\| (`[\w.]+` \| .*\|.*\|.*) \|$", PAGE, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def fields_of(kind: Any, values: dict[str, Any], prefix: str = "") -> dict[str, tuple]:
    """The default of each field, and what its type says it may be."""
    found: dict[str, tuple] = {}
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        if field.name == "settings":
            continue
        if dataclasses.is_dataclass(field.type):
            found |= fields_of(field.type, values[field.name], f"{name}.")
            continue
        hint = field.type
        extra = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
        rules = [rule.expected for rule in extra if isinstance(rule, Rule)]
        found[name] = (values[field.name], *rules)
    return found


def expected_fields() -> dict[str, tuple]:
    kinds = settings_types()
    values = Config(settings=tuple(kind() for kind in kinds.values())).to_dict()
    found = fields_of(Config, values)
    for name, kind in kinds.items():
        found |= fields_of(kind, values[name], f"{name}.")
    return found


def test_the_page_has_every_field_and_no_other():
    listed = [name.strip("`") for name, *_ in rows()]
    assert sorted(listed) == sorted(expected_fields())


def test_defaults_and_what_is_allowed_are_those_of_the_code():
    fields = expected_fields()
    for name, default, allowed, meaning in rows():
        value, *rules = fields[name.strip("`")]
        assert default == (f"`{value}`" if value != "" else "empty"), name
        for rule in rules:
            assert allowed.replace("`", "") == rule, name
        assert len(meaning) > 10, name
    listed = {name.strip("`"): re.findall("`(.*?)`", allowed) for name, _, allowed, _ in rows()}
    for name, names in NAMES.items():
        assert listed[name] == list(names), name


def test_a_group_names_the_methods_that_read_it():
    for group, kind in settings_types().items():
        (methods,) = re.findall(rf"^\| `{group}` \| ([^|]*) \|$", PAGE, re.MULTILINE)
        readers = [name for name, method in METHODS.items() if kind in method.SETTINGS]
        assert methods.replace("`", "").split(", ") == readers
