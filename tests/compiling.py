"""How long programs compile in tests, and how fast they then are."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def few_optimizations() -> Iterator[None]:
    """Compiles in a fraction of the time, for programs that run a few times: they run slower."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
