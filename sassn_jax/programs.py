"""Compiled programs, of which only so many are kept."""

import functools
from collections.abc import Callable
from typing import Any

import jax

KEPT = 32  # programs of a function; that of a ResNet-101 for one size of image takes some 20 MiB


def jit_by_shape(
    function: Callable[..., Any], *, donate_argnums: tuple[int, ...] = (), kept: int = KEPT
) -> Callable[..., Any]:
    """Compiles a function, and forgets the programs for shapes that it has not seen lately.

    `jax.jit` keeps a program for every shape for as long as the function lives, which fills memory
    where each image has a size of its own.

    Args:
      function: of arrays, or trees of them, by position, and of static values by keyword.
      donate_argnums: see `jax.jit`.
      kept: how many programs are kept: those that were used last.
    """

    @functools.lru_cache(maxsize=kept)
    def program(shapes: Any, static: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
        del shapes

        # A new function each time: JAX keeps together what it compiled of the same one.
        @functools.wraps(function)
        def of_one_shape(*arguments: Any) -> Any:
            return function(*arguments, **dict(static))

        return jax.jit(of_one_shape, donate_argnums=donate_argnums)

    @functools.wraps(function)
    def call(*arguments: Any, **static: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        shapes = structure, *map(jax.typeof, leaves)
        return program(shapes, tuple(sorted(static.items())))(*arguments)

    return call
