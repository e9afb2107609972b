"""Networks whose batch norm is fused into the convolutions: made trainable again."""

from collections.abc import Container, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from sassn_jax.weights.matching import EPSILON

Variables = Mapping[str, Any]

SILENT = 1e-6  # a channel whose output varies less than this keeps its scale
# Images for such a network are divided by it: training needs images of about unit variance.
IMAGE_STD = (57.0, 57.0, 57.0)


def is_fused(names: Container[str]) -> bool:
    """Whether a trunk's batch norm is fused into its kernels, by the names of its arrays."""
    return "conv1.bias" in names


def whiten(
    backbone: nn.Module,
    variables: Variables,
    images: Float[Array, "B H W 3"] | Float[np.ndarray, "B H W 3"],
) -> dict[str, Any]:
    """Scales every convolution to outputs of unit variance; its norm undoes the scaling.

    Fusing batch norm into the kernels leaves channels of very different scales, on which SGD
    diverges. Here each kernel is divided by the standard deviation of its output per channel, and
    the norm behind it multiplies by it. The network computes what it did before (to 2e-5), and its
    running statistics are those of `images`.

    Args:
      backbone: the trunk, called as `backbone.apply(variables, images, train=False)`. Behind each
        `conv` of its tree stands a norm of the same name with `bn`.
      variables: `params` and `batch_stats` of the trunk, from `load_backbone`.
      images: a normalized batch such as training will see.

    Returns:
      New `params` and `batch_stats`.
    """

    @jax.jit
    def output_statistics(
        variables: Variables, images: jax.Array
    ) -> dict[tuple[str, ...], tuple[jax.Array, jax.Array]]:
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

    variables = jax.device_get(variables)
    statistics = jax.device_get(output_statistics(variables, jnp.asarray(images)))
    params, stats = (traverse_util.flatten_dict(variables[x]) for x in ("params", "batch_stats"))
    for conv, (mean, std) in statistics.items():
        norm = (*conv[:-1], conv[-1].replace("conv", "bn"))
        std = np.where(std < SILENT, np.float32(1), std)
        # The norm computes gain * (x - its mean) + bias.
        gain = params[*norm, "scale"] / np.sqrt(stats[*norm, "var"] + EPSILON)
        params[*conv, "kernel"] = params[*conv, "kernel"] / std
        params[*norm, "scale"] = gain * std
        shift = gain * (mean - stats[*norm, "mean"])
        params[*norm, "bias"] = params[*norm, "bias"] + shift
        stats[*norm, "mean"] = mean / std
        stats[*norm, "var"] = np.full_like(std, 1 - EPSILON)
    return {
        "params": traverse_util.unflatten_dict(params),
        "batch_stats": traverse_util.unflatten_dict(stats),
    }
