"""Compiled programs, of which only so many are kept."""

import functools
import random
from collections.abc import Callable
from typing import Any

import jax

KEPT = 32  # programs of a function; that of a ResNet-101 for one size of image takes some 20 MiB


def jit_by_shape(
    function: Callable[..., Any], *, donate_argnums: tuple[int, ...] = (), kept: int = KEPT
) -> Callable[..., Any]:
    """Compiles a function for each shape of its arguments, and keeps only so many programs.

    `jax.jit` keeps a program for every shape for as long as the function lives, which fills memory
    where each image has a size of its own. Here a new program takes the place of one that is drawn
    at random: images are scored in the same order again and again, and the place of the program
    that was used longest ago would each time be that of the one that is needed next.

    Args:
      function: of arrays, or trees of them, by position, and of static values by keyword.
      donate_argnums: see `jax.jit`.
      kept: how many programs there are at most.
    """
    programs: dict[Any, Callable[..., Any]] = {}
    draw = random.Random(0)

    @functools.wraps(function)
    def call(*arguments: Any, **static: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, *map(jax.typeof, leaves), *sorted(static.items())
        if key not in programs:
            if len(programs) >= kept:
                del programs[draw.choice(list(programs))]
            # A new object each time: `jax.jit` keeps the programs of one function together.
            of_one_shape = functools.wraps(function)(functools.partial(function, **static))
            programs[key] = jax.jit(of_one_shape, donate_argnums=donate_argnums)
        return programs[key](*arguments)

    return call
