"""The platform and the devices that a traced program is for."""

import math

import jax
from jax.sharding import AxisType


def target_platform() -> str:
    """Returns `cpu`, `gpu` or `tpu`: the platform of the first of these that is set.

    These are the device that the mesh in use describes (see `jax.sharding.use_abstract_mesh`),
    JAX's default device, and JAX's backend. The devices of the arrays are not known while a program
    is traced.
    """
    described = jax.sharding.get_abstract_mesh().abstract_device  # under a mesh, and in shard_map
    if described is not None:
        return described.platform
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return getattr(chosen, "platform", chosen) or jax.default_backend()  # a device, or a name


def target_devices() -> int:
    """Returns how many devices share the arrays of a traced program by the mesh in use.

    It is 1 without a mesh. Within `jax.shard_map` it is 1 too: arrays are a device's own there.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    return math.prod(size for size, kind in axes if kind != AxisType.Manual)
