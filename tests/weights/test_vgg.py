import numpy as np
import pytest

from sassn_jax.weights import vgg

# torchvision's configuration D: an index for each convolution, ReLU and pooling.
FEATURES = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12,
    "conv3_3": 14, "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26,
    "conv5_3": 28,
}  # fmt: skip


@pytest.mark.parametrize(("module", "index"), FEATURES.items())
def test_names(module, index):
    path = ("backbone", module, "kernel")
    assert vgg.torchvision_name(path) == f"features.{index}.weight"


def test_a_matrix_becomes_the_convolution_that_does_the_same():
    rng = np.random.default_rng(0)
    maps, fc6, fc7 = (rng.normal(size=shape) for shape in ((5, 7, 7), (4, 245), (4, 4)))
    arrays = {"classifier.0.weight": fc6, "classifier.3.weight": fc7, "features.0.bias": fc7[0]}
    got = vgg.as_convolutions(arrays)
    assert [x.shape for x in got.values()] == [(4, 5, 7, 7), (4, 4, 1, 1), (4,)]
    np.testing.assert_allclose(
        np.einsum("ocij,cij->o", got["classifier.0.weight"], maps), fc6 @ maps.reshape(-1)
    )
    np.testing.assert_array_equal(got["classifier.3.weight"][..., 0, 0], fc7)
    assert vgg.as_convolutions({"classifier.0.weight": fc7})["classifier.0.weight"] is fc7
    kernels = vgg.as_convolutions(got)  # of Caffe's FCN, which has them so already
    assert all(kernels[name] is array for name, array in got.items())
