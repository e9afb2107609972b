"""DeepLabv2's head against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.heads import DeepLabV2Head
from tests.parity.trees import random_variables

from .test_layers import draw, naive_conv

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize("rates", [(1,), (1, 2), (2, 3, 6)])
def test_is_the_sum_of_dilated_classifiers(rates):
    features = draw(2, 7, 8, 6)
    head = DeepLabV2Head(num_classes=3, rates=rates)
    variables = random_variables(head, features)
    assert set(variables["params"]) == {f"conv{i}" for i in range(len(rates))}
    expected = 0.0
    for i, rate in enumerate(rates):
        conv = variables["params"][f"conv{i}"]
        expected = expected + naive_conv(features, conv["kernel"], 1, rate, rate) + conv["bias"]
    np.testing.assert_allclose(
        head.apply(variables, jnp.asarray(features)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("rates", "count"), [((6, 12, 18, 24), 1_548_372), ((6, 12), 774_186)])
def test_parameter_count_for_voc(rates, count):
    features = jax.ShapeDtypeStruct((1, 41, 41, 2048), "float32")
    shapes = jax.eval_shape(DeepLabV2Head(21, rates).init, jax.random.key(0), features)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_kernels_start_small():
    params = DeepLabV2Head(21).init(jax.random.key(0), jnp.zeros((1, 3, 3, 256)))
    for conv in params["params"].values():
        np.testing.assert_allclose(np.std(conv["kernel"]), 0.01, rtol=0.02)
        assert not np.any(conv["bias"])
