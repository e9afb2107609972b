"""The matmuls of a program and of its Pallas kernels, counted in its jaxpr."""

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import Literal, cast

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Numerics = Literal["bfloat16", "tf32", "float32"]  # of the operands; all sums are float32


@dataclasses.dataclass(frozen=True)
class Matmul:
    """One matmul in the text of a kernel.

    Attributes:
      size: its multiply-adds, M * N * K.
      times: how often the program does it, over the kernel's grid and all loops around it.
    """

    size: int
    times: int


def in_kernels(jaxpr: Jaxpr) -> dict[str, list[Matmul]]:
    """Returns the matmuls of every Pallas kernel under its name; names must differ.

    Raises:
      ValueError: two kernels of one name; a matmul in a loop whose length is not known.
    """
    kernels: dict[str, list[Matmul]] = {}
    for equation, times in _equations(jaxpr):
        if equation.primitive.name == "pallas_call":
            name = equation.params["name"]
            if name in kernels:
                raise ValueError(f"{name}: two kernels of that name")
            inside = _multiplications(equation.params["jaxpr"], times * _rounds(equation))
            kernels[name] = [Matmul(_size(x), count) for x, count in inside]
    return kernels


def in_program(jaxpr: Jaxpr) -> dict[Numerics, int]:
    """Returns the multiply-adds of all matmuls and convolutions, by the numerics of a GPU.

    Kernels and loops are counted too, products with a convolution's padding are not.

    Raises:
      ValueError: a matmul is in a loop whose length is not known.
    """
    counts: collections.Counter[Numerics] = collections.Counter()
    for equation, times in _multiplications(jaxpr):
        counts[_numerics(equation)] += _size(equation) * times
    return dict(counts)


def _multiplications(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """Yields matmuls and convolutions, and how often each is done."""
    for equation, count in _equations(jaxpr, times):
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            if not count:
                raise ValueError("a matmul in a loop whose length is not known")
            yield equation, count


def _equations(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """Yields all equations, and how often each is done: 0 in a loop of unknown length."""
    is_jaxpr = lambda x: isinstance(x, Jaxpr | ClosedJaxpr)  # noqa: E731
    for equation in jaxpr.eqns:
        yield equation, times
        for x in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(x):
                inner = x.jaxpr if isinstance(x, ClosedJaxpr) else x
                yield from _equations(inner, times * _rounds(equation))


def _rounds(equation: JaxprEqn) -> int:
    """How often an equation runs what is in it; 0 where that is not known."""
    match equation.primitive.name:
        case "scan":
            return equation.params["length"]
        case "pallas_call":
            return math.prod(equation.params["grid_mapping"].grid)
        case "while":
            return 0
    return 1


def _size(equation: JaxprEqn) -> int:
    """Returns the multiply-adds of a matmul or a convolution."""
    params = equation.params
    x, kernel, result = (
        cast(ShapedArray, variable.aval).shape
        for variable in (*equation.invars[:2], equation.outvars[0])
    )
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(result) * math.prod(x[axis] for axis in contracted)
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
        # Count the pairs of output and tap that meet a pixel, not padding or a gap between pixels.
        position = stride * np.arange(result[out_axis])[:, None] - padding
        position = position + dilation * np.arange(kernel[taps_axis])
        inside = (position >= 0) & (position <= spread * (x[axis] - 1))
        size *= int(np.count_nonzero(inside & (position % spread == 0)))
    return size


def _numerics(equation: JaxprEqn) -> Numerics:
    if cast(ShapedArray, equation.invars[0].aval).dtype.itemsize < 4:
        return "bfloat16"
    precision = equation.params["precision"]
    operands = precision if isinstance(precision, tuple) else (precision,)
    return "float32" if lax.Precision.HIGHEST in operands else "tf32"
