import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.resnet import ARCHITECTURES, ResNet


@pytest.fixture(scope="session")
def tiny():
    """A small trunk whose norms use running statistics, and its variables as numpy arrays."""
    backbone = ResNet(ARCHITECTURES["resnet_tiny"], norm="frozen")
    init = functools.partial(backbone.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)

    def random(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.2
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    return backbone, jax.tree_util.tree_map_with_path(random, shapes)
