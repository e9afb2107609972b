"""Batches in which a crop, or each crop, has no labelled pixel."""

import jax
import numpy as np
import pytest

from sassn_jax import methods
from sassn_jax.recipes import parse, resolve
from tests.training.conftest import tiny_config

CLASSES, SIZE = 8, (32, 48)
UNDEFINED = "/precision"  # how much is right, of images whose labels are not known


@pytest.mark.slow
@pytest.mark.usefixtures("small_runs", "tiny_networks", "fast_compile")
@pytest.mark.parametrize("name", methods.METHODS)
def test_a_crop_without_any_labelled_pixel_breaks_nothing(name):
    config = tiny_config(name)
    if "loss" in config and "semi_start" in config.loss:
        config.loss.semi_start = 0
    method = methods.create(resolve(parse(config))[0], CLASSES)
    rng = np.random.default_rng(0)

    def half(labels):
        arrays = {"image": 50 * rng.normal(size=(2, *SIZE, 3)).astype(np.float32), "label": labels}
        return arrays | ({"valid": np.ones(labels.shape, bool)} if method.takes_valid else {})

    step = jax.jit(method.step)
    ignored = np.full((2, *SIZE), 255, np.int32)
    for labelled in (np.s_[:0], np.s_[1:, 3:4, 4:5], np.s_[1:]):  # no pixel, one, one crop
        labels = ignored.copy()
        labels[labelled] = rng.integers(0, CLASSES, labels[labelled].shape)
        batch = {"labeled": half(labels)}
        if method.unlabeled_from is not None:
            batch["unlabeled"] = half(ignored)
        state, metrics = step(method.init(jax.random.key(0), batch), batch)
        assert (metrics["loss/cross_entropy"] == 0) == (labels == 255).all()
        if name == "supervised" and (labels == 255).all():
            assert metrics["gradient_norm/generator"] == 0
        unknown = {x for x in metrics if not np.isfinite(metrics[x])}
        assert all(x.endswith(UNDEFINED) for x in unknown)
        for leaf in jax.tree.leaves(state.replace(rng=None)):
            assert np.isfinite(leaf).all()
