"""What the program that is being traced will run on."""

import jax


def target_platform() -> str:
    """Returns `cpu`, `gpu` or `tpu`: of the described device, the default device, or JAX's backend.

    A device is described by the mesh in use, as in `jax.sharding.use_abstract_mesh`. Where arrays
    stand is not known in tracing.
    """
    described = jax.sharding.get_abstract_mesh().abstract_device  # under a mesh, and in shard_map
    if described is not None:
        return described.platform
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return getattr(chosen, "platform", chosen) or jax.default_backend()  # a device, or a name
