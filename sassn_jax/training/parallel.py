"""The devices of a run: a mesh, how arrays lie on it, and the step compiled for it."""

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
    devices = jax.device_count()
    if batch_size % (devices * accumulation):
        pieces = f" times accumulation={accumulation}" if accumulation > 1 else ""
        raise UnfitError(
            f"batch_size={batch_size}: expected a multiple of the {devices} devices{pieces}; "
            "change it, or show the program fewer devices (CUDA_VISIBLE_DEVICES)"
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def describe(mesh: Mesh) -> str:
    """Names the devices of a mesh, such as `2 x NVIDIA H100 80GB HBM3`."""
    kind = mesh.devices.flat[0].device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"


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
        `shard_params` all, are replicated.
    """

    def of(x: Any) -> NamedSharding:
        fitting = [axis for axis, size in enumerate(x.shape) if size % mesh.size == 0]
        if not shard_params or int(np.prod(x.shape)) < SMALL or not fitting:
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
    """Moves a batch of NumPy arrays to the devices, an equal share to each."""
    return jax.device_put(batch, split(mesh))
