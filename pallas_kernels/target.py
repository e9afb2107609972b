"""The platform that a traced program is for."""

import jax


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
