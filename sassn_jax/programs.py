"""Compiled programs, of which only so many are kept."""

import functools
from collections.abc import Callable
from typing import Any

import jax

KEPT = 32  # shapes; a ResNet-101 for one size of image takes some 20 MiB


def jit_by_shape(function: Callable[..., Any], kept: int = KEPT) -> Callable[..., Any]:
    """Returns a compiled function that forgets the programs for shapes that it has not seen lately.

    `jax.jit` keeps a program for every shape for as long as the function lives, which fills memory
    where each image has a size of its own.

    Args:
      function: of arrays, or trees of them, given by position.
      kept: the number of programs that are kept, those used last.
    """

    @functools.lru_cache(maxsize=kept)
    def program(_: tuple[Any, ...]) -> Callable[..., Any]:
        # A function of its own: of one that is jitted twice, JAX keeps all programs together.
        return jax.jit(lambda *arguments: function(*arguments))

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        shapes = (structure, *(jax.typeof(leaf) for leaf in leaves))
        return program(shapes)(*arguments)

    return call
