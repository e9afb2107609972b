"""What a program and its Pallas kernels multiply, read from its jaxpr, before any compiler."""

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal, cast

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Numerics = Literal["bfloat16", "tf32", "float32"]  # of operands; sums are float32 in all


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


def in_program(jaxpr: Jaxpr) -> dict[Numerics, int]:
    """Returns the multiply-adds of all matmuls and convolutions, by what a GPU does them in.

    Those in kernels and loops included; those of a convolution with its padding are not.

    Raises:
      ValueError: one is in a loop whose length is not known.
    """
    counts: collections.Counter[Numerics] = collections.Counter()
    for equation, times in _multiplications(jaxpr, 1):
        counts[_numerics(equation)] += _size(equation) * times
    return dict(counts)


def _matmuls(jaxpr: Jaxpr, times: int) -> Iterator[Matmul]:
    for equation, count in _multiplications(jaxpr, times):
        yield Matmul(_size(equation), count)


def _multiplications(jaxpr: Jaxpr, times: int) -> Iterator[tuple[JaxprEqn, int]]:
    """Matmuls and convolutions, and how often each is done."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in _SIZES:
            yield equation, times
        rounds = 1
        if name == "scan":
            rounds = equation.params["length"]
        elif name == "pallas_call":
            rounds = math.prod(equation.params["grid_mapping"].grid)
        for inner in _inner(equation):
            found = list(_multiplications(inner, times * rounds))
            if found and name == "while":
                raise ValueError("a matmul in a loop whose length is not known")
            yield from found


def _size(equation: JaxprEqn) -> int:
    x, y = (cast(ShapedArray, variable.aval) for variable in equation.invars[:2])
    result = cast(ShapedArray, equation.outvars[0].aval)
    return _SIZES[equation.primitive.name](equation.params, x.shape, y.shape, result.shape)


def _matmul_size(
    params: dict[str, Any], x: tuple[int, ...], y: tuple[int, ...], result: tuple[int, ...]
) -> int:
    del y
    (contracted, _), _ = params["dimension_numbers"]
    return math.prod(result) * math.prod(x[axis] for axis in contracted)


def _convolution_size(
    params: dict[str, Any], x: tuple[int, ...], kernel: tuple[int, ...], result: tuple[int, ...]
) -> int:
    numbers = params["dimension_numbers"]
    batch, features, *out_axes = numbers.out_spec
    _, in_features, *taps_axes = numbers.rhs_spec
    size = result[batch] * result[features] * kernel[in_features]
    for axis, taps_axis, out_axis, stride, (padding, _), spread, dilation in zip(
        numbers.lhs_spec[2:],
        taps_axes,
        out_axes,
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    ):
        # Pairs of an output and a tap that meet a pixel, neither padding nor a gap between pixels.
        position = stride * np.arange(result[out_axis])[:, None] - padding
        position = position + dilation * np.arange(kernel[taps_axis])
        inside = (position >= 0) & (position <= spread * (x[axis] - 1))
        size *= int(np.count_nonzero(inside & (position % spread == 0)))
    return size


_SIZES = {"dot_general": _matmul_size, "conv_general_dilated": _convolution_size}


def _numerics(equation: JaxprEqn) -> Numerics:
    if cast(ShapedArray, equation.invars[0].aval).dtype.itemsize < 4:
        return "bfloat16"
    precision = equation.params["precision"]
    operands = precision if isinstance(precision, tuple) else (precision,)
    return "float32" if lax.Precision.HIGHEST in operands else "tf32"


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
