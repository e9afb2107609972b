"""Whether JAX can use the devices that it was told to use."""

import jax

from sassn_jax.errors import UnfitError


def check_platform() -> None:
    """Checks that JAX can use the platform that JAX_PLATFORMS names, where that is set.

    Raises:
      UnfitError: if it cannot.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError where `cuda` finds no GPU
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        if not platforms:
            raise
        text = " ".join(str(error).split()) or "it finds no such device"
        reason = text.partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        raise UnfitError(
            f"JAX_PLATFORMS={platforms}: JAX cannot use it here ({reason}); "
            "unset it, or for an NVIDIA GPU call `make cuda` or pip install 'sassn_jax[cuda]'"
        ) from None
