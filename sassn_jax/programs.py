"""A `jax.jit` that keeps a limited number of compiled programs."""

import functools
import random
from collections.abc import Callable
from typing import Any

import jax

KEPT = 32  # programs of a function; a ResNet-101's, for one size of image, takes some 20 MiB


def jit_by_shape(
    function: Callable[..., Any], *, donate_argnums: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Compiles a function for each shape of its arguments, and keeps at most `KEPT` programs.

    `jax.jit` keeps the programs for all shapes as long as the function lives, which fills memory
    where images differ in size. Here a new program replaces one drawn at random from all but the
    quarter that was used most recently. Replacing the least recently used program would be worse:
    images are scored in the same order again and again, so it would be the next one needed.

    Args:
      function: takes arrays, or trees of them, by position, and static values by keyword.
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
