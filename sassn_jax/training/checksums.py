"""Checksums of arrays, computed where the arrays lie."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Shaped, UInt32


def checksums(tree: Any) -> dict[str, str]:
    """Returns a checksum of the bits of each array of a tree, 16 hexadecimal digits by dotted name.

    It depends on the bits, their places and the shape, not on how the array lies on the devices:
    no array is gathered. A change of one number of at most 4 bytes always changes it; any other
    change escapes with a probability of about 2^-64.
    """
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]
    # One after the other: on a CPU with more devices than cores, programs in which the devices wait
    # for each other could take up all threads.
    sums = [jax.device_get(one_checksum(x)) for x in jax.tree.leaves(tree)]
    return {name: f"{a:08x}{b:08x}" for name, (a, b) in zip(names, sums, strict=True)}


@jax.jit
def one_checksum(x: Shaped[Array, "..."]) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """Returns two sums modulo 2^32 of the words of an array, each mixed with its place.

    For a given place, the mixed word is a bijection of the word, and so is its product with an odd
    number: hence one changed word changes both sums. Sums modulo 2^32 have no order of their terms.
    """
    words = _words(x)
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        along = lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        place = place * jnp.uint32(size % 2**32) + along
    mixed = _mix(words ^ _mix(place + jnp.uint32(1)))
    odd = jnp.uint32(2) * place + jnp.uint32(1)
    return jnp.sum(mixed, dtype=jnp.uint32), jnp.sum(mixed * odd, dtype=jnp.uint32)


def _words(x: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """Returns the bits of an array as words: two, on a new last axis, of a number of 8 bytes."""
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.dtype == jnp.bool:
        x = x.astype(jnp.uint8)
    width = min(x.dtype.itemsize, 4)  # bytes
    return lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * width}")).astype(jnp.uint32)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Spreads each bit over the word, one to one: the last step of MurmurHash3."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> jnp.uint32(shift))) * jnp.uint32(factor)
    return x ^ (x >> jnp.uint32(16))
