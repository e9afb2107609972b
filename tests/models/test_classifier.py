"""The classifier of whole images: sizes, and what it makes of the trunk's features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.classifier import Classifier
from sassn_jax.models.generator import Generator
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from tests.trees import random_variables

from .test_layers import draw


def test_parameter_count():
    """Torchvision's ResNet-101, 44,549,160, with 21 outputs in place of 1000."""
    images = jax.ShapeDtypeStruct((1, 65, 33, 3), "float32")
    logits, variables = jax.eval_shape(
        lambda rng, x: Classifier(21).init_with_output(rng, x, train=False),
        jax.random.key(0),
        images,
    )
    assert logits.shape == (1, 21)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert count == 44_549_160 - 1000 * (2048 + 1) + 21 * (2048 + 1)


def test_has_the_trunk_of_the_segmentation_network():
    images = jax.ShapeDtypeStruct((1, 33, 33, 3), "float32")
    trees = [
        jax.eval_shape(
            lambda rng, x, module=module: module.init(rng, x, train=False),
            jax.random.key(0),
            images,
        )
        for module in (Classifier(5, "resnet_tiny"), Generator(5, "resnet_tiny"))
    ]
    for name in ("params", "batch_stats"):
        assert trees[0][name]["backbone"] == trees[1][name]["backbone"]


@pytest.mark.usefixtures("strict_dtypes", "fast_compile")
def test_is_a_linear_layer_on_the_mean_of_the_features():
    images = jnp.asarray(draw(2, 33, 47, 3))
    classifier = Classifier(5, "resnet_tiny")
    variables = random_variables(classifier, images, train=False)

    @jax.jit
    def both(variables):
        trunk = {name: tree["backbone"] for name, tree in variables.items()}
        _, features = ResNet(ARCHITECTURES["resnet_tiny"]).apply(trunk, images, train=False)
        return features, classifier.apply(variables, images, train=False)

    features, logits = jax.device_get(both(variables))
    linear = jax.device_get(variables["params"]["linear"])
    expected = np.mean(features, axis=(1, 2), dtype=np.float64) @ linear["kernel"][0, 0]
    np.testing.assert_allclose(logits, expected + linear["bias"], rtol=1e-4, atol=1e-4)
