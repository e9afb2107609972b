"""Makes a function of batches that JAX cannot look into work under `vmap` and over devices.

A Pallas kernel is a black box to the compiler. Without further rules, every device of a mesh would
gather whole arrays before it calls the kernel.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Function = Callable[..., tuple[Array, ...]]


def batch_parallel(function: Function, num_results: int, no_derivative: str) -> Function:
    """Returns the function with rules for `vmap`, for devices and for derivatives.

    Args:
      function: takes and returns arrays whose first axis is the batch. The results of an example
        must depend on that example alone.
      num_results: number of arrays that it returns.
      no_derivative: message of the TypeError that a derivative raises.

    Returns:
      A function of the same arrays. Under a mesh every device takes its own examples; `vmap` merges
      its axis into the batch; a derivative raises TypeError, as in JAX's functions without one.
    """
    split = custom_partitioning(function)
    split.def_partition(
        partition=functools.partial(_partition, function), sharding_rule=_sharding_rule
    )
    batched = custom_vmap(lambda *arrays: split(*arrays))
    batched.def_vmap(functools.partial(_merge_axis, lambda *arrays: batched(*arrays), num_results))
    final = jax.custom_jvp(lambda *arrays: batched(*arrays))
    final.defjvp(functools.partial(_refuse, no_derivative))
    return final


def _partition(
    function: Function, mesh: Mesh, arguments: tuple[Any, ...], results: tuple[Any, ...]
) -> tuple[Mesh, Function, tuple[NamedSharding, ...], tuple[NamedSharding, ...]]:
    """Splits the batch of every array like that of the first array that is split."""
    specs = [x.sharding.spec for x in (*arguments, *results)]
    batch = next((spec[0] for spec in specs if spec and spec[0] is not None), None)
    sharding = NamedSharding(mesh, PartitionSpec(batch))
    return mesh, function, (sharding,) * len(results), (sharding,) * len(arguments)


def _sharding_rule(mesh: Mesh, arguments: Any, results: Any) -> tuple[str, dict[str, Any]]:
    """Says that all arrays share the batch axis and that no other axis may be split."""
    del mesh
    whole: list[str] = []

    def axes(rank: int) -> str:
        names = [f"w{len(whole) + i}" for i in range(rank - 1)]
        whole.extend(names)
        return " ".join(["b", *names])

    sides = [", ".join(axes(len(x.shape)) for x in side) for side in (arguments, results)]
    return " -> ".join(sides), {"need_replication_factors": tuple(whole)}


def _merge_axis(
    function: Function, num_results: int, axis_size: int, in_batched: list[bool], *arrays: Array
) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
    """Merges the axis of `vmap` into the batch."""

    def merge(x: Array, is_batched: bool) -> Array:
        if not is_batched:
            x = jnp.broadcast_to(x, (axis_size, *x.shape))
        return x.reshape(-1, *x.shape[2:])

    merged = function(*(merge(*pair) for pair in zip(arrays, in_batched, strict=True)))
    results = tuple(x.reshape(axis_size, -1, *x.shape[1:]) for x in merged)
    return results, (True,) * num_results


def _refuse(message: str, primals: Any, tangents: Any) -> Any:
    raise TypeError(message)
