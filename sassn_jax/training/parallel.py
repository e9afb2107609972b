"""The devices of a run: a mesh, how arrays lie on it, and the step compiled for it."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from sassn_jax.devices import check_platform
from sassn_jax.errors import UnfitError
from sassn_jax.methods import Batch, Method, TrainState

# Numbers of an array that is left whole on every device. To gather so few would take longer than
# their memory is worth.
SMALL = 2**14


def make_mesh(batch_size: int, accumulation: int = 1) -> Mesh:
    """Returns a mesh of all devices, in the order of the processes, as the parts of a batch are.

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
    return mesh_of(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def mesh_of(devices: Sequence[jax.Device]) -> Mesh:
    """Returns a mesh of these devices, in this order, with the axes of `mesh_shape`."""
    shape = mesh_shape(len(devices))
    array = np.array(devices).reshape(*shape.values())
    return Mesh(array, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def mesh_shape(devices: int) -> dict[str, int]:
    """Returns the axes of a mesh with their sizes: the prime factors of the number of devices.

    A batch is split over all axes at once. Only `state_shardings` makes use of there being several:
    where 512 devices cannot share an axis of 256 channels, 256 of them can, over all mesh axes but
    one.

    >>> mesh_shape(12)
    {'data0': 2, 'data1': 2, 'data2': 3}
    """
    sizes, rest = [], devices
    for factor in range(2, devices + 1):
        while rest % factor == 0:
            sizes.append(factor)
            rest //= factor
    return {f"data{i}": size for i, size in enumerate(sizes or [1])}


def describe(mesh: Mesh) -> str:
    """Names a mesh, such as `2 x NVIDIA H100 80GB HBM3` or `8 x NVIDIA L4 of 2 processes`."""
    kind = mesh.devices.flat[0].device_kind
    name = kind if mesh.size == 1 else f"{mesh.size} x {kind}"
    return name if jax.process_count() == 1 else f"{name} of {jax.process_count()} processes"


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is split evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def state_shardings(state: Any, mesh: Mesh | AbstractMesh, *, shard_params: bool) -> Any:
    """Returns how the arrays of a state lie on the devices, as a tree of shardings.

    Args:
      state: a tree of arrays, or of their shapes.
      mesh: from `make_mesh`.
      shard_params: whether the devices share each large array. Without it, all arrays are
        replicated; with it, only those of fewer than `SMALL` numbers.

    The axis of a large array that can be split into the most parts is split, the longest of several
    such axes. The number of parts is the greatest common divisor of the axis and the number of
    devices. Where that is fewer than all devices, neighbours have different parts, and every group
    of so many neighbours holds the whole array. A device's part therefore never grows if the number
    of devices is multiplied.

    All shardings are of the one mesh: JAX refuses others in a program with a kernel that is
    partitioned by `custom_partitioning`.
    """

    def parts_of(size: int) -> int:
        return math.gcd(size, mesh.size)

    def of(x: Any) -> NamedSharding:
        if not shard_params or math.prod(x.shape) < SMALL:
            return replicated(mesh)
        axis = max(range(x.ndim), key=lambda axis: (parts_of(x.shape[axis]), x.shape[axis]))
        parts = parts_of(x.shape[axis])
        names: tuple[str, ...] = ()
        for name, size in reversed(mesh.shape.items()):
            if parts % size == 0:
                names, parts = (name, *names), parts // size
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, names))

    return jax.tree.map(of, state)


def jit_step(method: Method, mesh: Mesh, shardings: Any) -> jax.stages.Wrapped:
    """Returns the method's step, compiled at its first call; it reuses the old state's memory.

    Before the step, labelled images are augmented as a batch, see `Segmenter.augment`.

    The step is traced under the mesh, so that kernels know how many devices share a batch.

    Args:
      method: whose step it is.
      mesh: of the batches.
      shardings: of the state, from `state_shardings`.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            gathered = _gathered(state, mesh)
            return method.step(gathered, method.generator.augment(gathered, batch))

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def _gathered(state: Any, mesh: Mesh) -> Any:
    """Gathers what the networks compute with, once a step; optimizers' states stay shared.

    Left to itself, the compiler may split a layer's channels over the devices as its parameters
    are, and then it gathers the activations of all images.
    """

    def gather(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
        if jax.tree_util.GetAttrKey("opt_state") in path:
            return x
        return jax.lax.with_sharding_constraint(x, replicated(mesh))

    return jax.tree_util.tree_map_with_path(gather, state)


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
