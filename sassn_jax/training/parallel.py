"""The devices of a run: a mesh, how arrays lie on it, and the step compiled for it."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sassn_jax.devices import check_platform
from sassn_jax.errors import UnfitError
from sassn_jax.methods import Method


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


def jit_step(method: Method, mesh: Mesh) -> jax.stages.Wrapped:
    """Returns the method's step, compiled at its first call; it reuses the old state's memory."""
    return jax.jit(method.step, donate_argnums=0, out_shardings=replicated(mesh))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Moves a batch of NumPy arrays to the devices, an equal share to each."""
    return jax.device_put(batch, split(mesh))
