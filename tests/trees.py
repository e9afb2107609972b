"""Random variables for our modules, and comparison of trees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def random_variables(module, *example, seed=0, **options):
    """Variables of `module`, none of them at a value that could hide a mistake."""
    init = functools.partial(module.init, **options)
    shapes = jax.eval_shape(init, jax.random.key(0), *example)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            x = rng.uniform(0.5, 1.5, leaf.shape)
        elif name in ("u", "v"):
            x = rng.normal(size=leaf.shape)
            x = x / np.linalg.norm(x)
        elif name == "kernel":
            x = rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            x = 0.3 + rng.normal(0, 0.1, leaf.shape)
        return jnp.asarray(x, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def assert_trees_close(got, want, tolerance):
    """Every array within `tolerance` times the largest value of its counterpart.

    Arrays of less than a thousandth of the tree's largest value are measured against that: some
    gradients, such as that of a bias of the keys, are rounding errors alone.
    """
    floor = 1e-3 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(want))

    def check(path, x, y):
        bound = tolerance * max(np.abs(y).max(), floor)
        np.testing.assert_allclose(x, y, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(check, got, want)


def to_nchw(images, torch):
    """[B, H, W, C] -> a torch tensor [B, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images), -1, 1)))


def to_nhwc(tensor):
    """A torch tensor [B, C, H, W] -> a numpy array [B, H, W, C]."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)
