"""Arrays of other projects, put into our trees."""

import jax
import numpy as np

from sassn_jax.weights import matching
from sassn_jax.weights.names import resnet_name, vgg_name


def test_filling_takes_what_fits_and_names_what_does_not():
    shapes = {
        "params": {
            "a": {"kernel": np.zeros((5, 5, 2, 3)), "bias": np.zeros(3)},
            "b": {"kernel": np.zeros((1, 1, 4, 1)), "bias": np.zeros(1)},
        }
    }
    kernel = np.arange(150.0).reshape(3, 2, 5, 5)
    arrays = {"a.weight": kernel, "b.weight": np.zeros((4, 1, 1, 1)), "c": np.zeros(2)}
    arrays["a.bias"] = np.ones(3)
    filled, problems = matching.fill(shapes, arrays, resnet_name)
    assert filled["params"].keys() == {"a"}
    assert (
        filled["params"]["a"]["kernel"].dtype == filled["params"]["a"]["bias"].dtype == np.float32
    )
    np.testing.assert_array_equal(filled["params"]["a"]["kernel"][3, 4, 1, 2], kernel[2, 1, 3, 4])
    assert problems == [
        "b.weight is (4, 1, 1, 1), expected (1, 4, 1, 1)",
        "b.bias (1,) is missing",
    ]
    assert arrays.keys() == {"c"}


def test_a_matrix_becomes_the_convolution_that_does_the_same():
    rng = np.random.default_rng(0)
    maps, fc6, fc7 = (rng.normal(size=shape) for shape in ((5, 7, 7), (4, 245), (4, 4)))
    shapes = {"params": {"fc6": {"kernel": np.zeros((7, 7, 5, 4))}}}
    shapes["params"]["fc7"] = {"kernel": np.zeros((1, 1, 4, 4))}
    arrays = {"classifier.0.weight": fc6, "classifier.3.weight": fc7}
    filled, problems = matching.fill(shapes, dict(arrays), vgg_name)
    assert not problems
    np.testing.assert_allclose(
        np.einsum("ijco,cij->o", filled["params"]["fc6"]["kernel"], maps),
        fc6 @ maps.reshape(-1),
        rtol=1e-4,
    )
    np.testing.assert_array_equal(filled["params"]["fc7"]["kernel"][0, 0], fc7.T.astype(np.float32))
    kernels = {"classifier.0.weight": fc6.reshape(4, 5, 7, 7), "classifier.3.weight": fc7}
    again, _ = matching.fill(shapes, kernels, vgg_name)  # Caffe's FCN has kernels already
    jax.tree.map(np.testing.assert_array_equal, again, filled)
    _, problems = matching.fill(shapes, {**arrays, "classifier.0.weight": fc6.T}, vgg_name)
    assert problems == ["classifier.0.weight is (245, 4), expected (4, 5, 7, 7)"]


def test_a_summary_shows_the_first():
    lines = [f"{i} is missing" for i in range(9)]
    assert matching.summary(lines).startswith("9 differ: 0 is missing; 1 is missing; ")
    assert matching.summary(lines).endswith("; 5 is missing; ...")
    assert matching.summary(lines[:2]) == "2 differ: 0 is missing; 1 is missing"
