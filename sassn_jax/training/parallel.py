"""The devices of a run: a mesh, how arrays lie on it, and the step compiled for it."""

import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sassn_jax.devices import check_platform
from sassn_jax.errors import UnfitError
from sassn_jax.methods import Method

# Numbers of an array that is left whole on every device. To gather so few would take longer than
# their memory is worth.
SMALL = 2**14


def make_mesh(batch_size: int, accumulation: int = 1) -> Mesh:
    """Returns a mesh of all devices with the one axis `data`.

    Raises:
      UnfitError: if the devices cannot share each piece of a batch evenly, or JAX cannot use them.
    """
    check_platform()
    devices, processes = jax.device_count(), jax.process_count()
    if processes > 1 and jax.local_device_count() * processes != devices:
        raise UnfitError(
            f"process {jax.process_index()} of {processes}: has {jax.local_device_count()} of the "
            f"{devices} devices; expected as many in each process"
        )
    if batch_size % (devices * accumulation):
        pieces = f" times accumulation={accumulation}" if accumulation > 1 else ""
        raise UnfitError(
            f"batch_size={batch_size}: expected a multiple of the {devices} devices{pieces}; "
            "change it, or show the program fewer devices (CUDA_VISIBLE_DEVICES)"
        )
    if processes > 1:
        # In the order of the processes, as the parts of a batch are.
        in_order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return Mesh(np.array(in_order), ("data",), axis_types=(AxisType.Auto,))
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def describe(mesh: Mesh) -> str:
    """Names a mesh, such as `2 x NVIDIA H100 80GB HBM3` or `8 x NVIDIA L4 of 2 processes`."""
    kind = mesh.devices.flat[0].device_kind
    name = kind if mesh.size == 1 else f"{mesh.size} x {kind}"
    return name if jax.process_count() == 1 else f"{name} of {jax.process_count()} processes"


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is split evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(state: Any, mesh: Mesh, *, shard_params: bool) -> Any:
    """Returns how the arrays of a state lie on the devices, as a tree of shardings.

    Args:
      state: a tree of arrays, or of their shapes.
      mesh: from `make_mesh`.
      shard_params: whether the devices share each large array: its longest axis that their number
        divides is split over them. Small arrays, those that have no such axis, and without
        `shard_params` all, are replicated. All shardings are of the one mesh: JAX refuses others in
        a program with a kernel that is partitioned by `custom_partitioning`.
    """

    def of(x: Any) -> NamedSharding:
        fitting = [axis for axis, size in enumerate(x.shape) if size % mesh.size == 0]
        if not shard_params or math.prod(x.shape) < SMALL or not fitting:
            return replicated(mesh)
        longest = max(fitting, key=lambda axis: x.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))

    return jax.tree.map(of, state)


def jit_step(method: Method, mesh: Mesh, shardings: Any) -> jax.stages.Wrapped:
    """Returns the method's step, compiled at its first call; it reuses the old state's memory.

    Args:
      method: whose step it is.
      mesh: of the batches.
      shardings: of the state, from `state_shardings`.
    """
    return jax.jit(method.step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Moves a batch of NumPy arrays to the devices, an equal share to each.

    Of several processes, each gives its part of the batch, see `data.train_batches`.
    """
    if jax.process_count() == 1:
        return jax.device_put(batch, split(mesh))
    place = functools.partial(jax.make_array_from_process_local_data, split(mesh))
    return jax.tree.map(place, batch)


def put(state: Any, shardings: Any) -> Any:
    """Moves a state to the devices; of several processes, each has the whole state before."""
    if jax.process_count() == 1:
        return jax.device_put(state, shardings)

    def place(x: jax.Array, sharding: NamedSharding) -> jax.Array:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            numbers = place(jax.random.key_data(x), sharding)
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)

    return jax.tree.map(place, state, shardings)


def local_copy(tree: Any, mesh: Mesh) -> Any:
    """Returns arrays whole, on the first device of this process alone.

    All processes must call it at once, since those that share arrays send them to each other.
    """
    if any(not x.is_fully_replicated for x in jax.tree.leaves(tree)):
        tree = jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
