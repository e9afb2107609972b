"""What a program's Pallas kernels multiply, read from its jaxpr: before any compiler touched it."""

import dataclasses
import math
from collections.abc import Iterator
from typing import cast

import jax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class Matmul:
    """One matmul in the text of a kernel.

    Attributes:
      size: multiply-adds of doing it once, M * N * K.
      times: how often the whole program does it: over the grid and all loops around it.
    """

    size: int
    times: int


def in_kernels(jaxpr: Jaxpr) -> dict[str, list[Matmul]]:
    """Returns the matmuls of every Pallas kernel under its name; names must differ.

    Raises:
      ValueError: two kernels of one name; a matmul in a loop whose length is not known.
    """
    kernels: dict[str, list[Matmul]] = {}
    for equation in _equations(jaxpr):
        if equation.primitive.name == "pallas_call":
            name = equation.params["name"]
            if name in kernels:
                raise ValueError(f"{name}: two kernels of that name")
            grid = math.prod(equation.params["grid_mapping"].grid)
            kernels[name] = list(_matmuls(equation.params["jaxpr"], grid))
    return kernels


def _matmuls(jaxpr: Jaxpr, times: int) -> Iterator[Matmul]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            x = cast(ShapedArray, equation.invars[0].aval)
            result = cast(ShapedArray, equation.outvars[0].aval)
            (contracted, _), _ = equation.params["dimension_numbers"]
            yield Matmul(result.size * math.prod(x.shape[axis] for axis in contracted), times)
        rounds = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in _inner(equation):
            found = list(_matmuls(inner, times * rounds))
            if found and equation.primitive.name == "while":
                raise ValueError("a matmul in a loop whose length is not known")
            yield from found


def _equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """All equations down to the kernels, not into them."""
    for equation in jaxpr.eqns:
        yield equation
        if equation.primitive.name != "pallas_call":
            for inner in _inner(equation):
                yield from _equations(inner)


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    is_jaxpr = lambda x: isinstance(x, Jaxpr | ClosedJaxpr)  # noqa: E731
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
        if is_jaxpr(value):
            yield value.jaxpr if isinstance(value, ClosedJaxpr) else value
