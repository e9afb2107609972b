"""Making a network that was fused for inference trainable again."""

from collections.abc import Container, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from sassn_jax.weights.matching import EPSILON

Tree = Mapping[str, Any]

SILENT = 1e-6  # a channel whose output varies less than this is left at its scale
# Such a network is fed images of about unit variance, so that it can be trained.
IMAGE_STD = (57.0, 57.0, 57.0)


def is_fused(names: Container[str]) -> bool:
    """Whether a trunk's batch norm is fused into its kernels, by the names of its arrays."""
    return "conv1.bias" in names


def whiten(
    backbone: nn.Module,
    params: Tree,
    batch_stats: Tree,
    images: Float[Array, "B H W 3"] | Float[np.ndarray, "B H W 3"],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gives every convolution outputs of unit variance, and its norm the scale it takes away.

    Fusing batch norm into the kernels leaves channels of very different scales, on which SGD
    diverges. Here each kernel is divided by the standard deviation of its output per channel, and
    the norm behind it is set to undo that: the network computes what it did before (to 2e-5), with
    running statistics that are those of `images`.

    Args:
      backbone: the trunk, called as `backbone.apply(variables, images, train=False)`. Behind each
        `conv` of its tree stands a norm of the same name with `bn`.
      params: of the trunk, from `load_backbone`.
      batch_stats: of the trunk.
      images: a normalized batch such as training will see.

    Returns:
      New `params` and `batch_stats`.
    """

    @jax.jit
    def output_statistics(variables: Tree, images: jax.Array) -> dict[tuple[str, ...], Any]:
        _, state = backbone.apply(
            variables,
            images,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: "conv" in (module.name or ""),
        )
        outputs = traverse_util.flatten_dict(state["intermediates"])
        return {
            path[:-1]: (jnp.mean(x, (0, 1, 2)), jnp.std(x, (0, 1, 2)))
            for path, (x,) in outputs.items()
            if "conv" in path[-2]
        }

    variables = jax.device_get({"params": params, "batch_stats": batch_stats})
    statistics = jax.device_get(output_statistics(variables, jnp.asarray(images)))
    new_params = dict(traverse_util.flatten_dict(variables["params"]))
    new_stats = dict(traverse_util.flatten_dict(variables["batch_stats"]))
    for conv, (mean, std) in statistics.items():
        norm = (*conv[:-1], conv[-1].replace("conv", "bn"))
        std = np.where(std < SILENT, np.float32(1), std)
        # The norm computes gain * (x - its mean) + bias.
        gain = new_params[*norm, "scale"] / np.sqrt(new_stats[*norm, "var"] + EPSILON)
        new_params[*conv, "kernel"] = new_params[*conv, "kernel"] / std
        new_params[*norm, "scale"] = gain * std
        shift = gain * (mean - new_stats[*norm, "mean"])
        new_params[*norm, "bias"] = new_params[*norm, "bias"] + shift
        new_stats[*norm, "mean"] = mean / std
        new_stats[*norm, "var"] = np.full_like(std, 1 - EPSILON)
    return traverse_util.unflatten_dict(new_params), traverse_util.unflatten_dict(new_stats)
