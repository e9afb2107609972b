"""Compiled programs, of which only so many are kept."""

import functools
import random
from collections.abc import Callable
from typing import Any

import jax

KEPT = 32  # programs of a function; that of a ResNet-101 for one size of image takes some 20 MiB


def jit_by_shape(
    function: Callable[..., Any], *, donate_argnums: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Compiles a function for each shape of its arguments, and keeps `KEPT` programs.

    `jax.jit` keeps a program for every shape for as long as the function lives, which fills memory
    where each image has a size of its own. Here a new program takes the place of one that is drawn
    at random from all but the quarter that was used last. It does not take the place of the one
    that was used longest ago: images are scored in the same order again and again, and that one
    would each time be the next that is needed.

    Args:
      function: of arrays, or trees of them, by position, and of static values by keyword.
      donate_argnums: see `jax.jit`.
    """
    programs: dict[Any, Callable[..., Any]] = {}
    draw = random.Random(0)

    @functools.wraps(function)
    def call(*arguments: Any, **static: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, *map(jax.typeof, leaves), *sorted(static.items())
        if key in programs:
            programs[key] = programs.pop(key)  # to the end, among those used last
        else:
            while len(programs) >= KEPT:
                del programs[draw.choice(list(programs)[: KEPT - KEPT // 4])]
            # A new object each time: `jax.jit` keeps the programs of one function together.
            of_one_shape = functools.wraps(function)(functools.partial(function, **static))
            programs[key] = jax.jit(of_one_shape, donate_argnums=donate_argnums)
        return programs[key](*arguments)

    return call
