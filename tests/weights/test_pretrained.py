import jax
import numpy as np
import pytest

from sassn_jax.models.generator import Generator
from sassn_jax.weights import Pretrained
from tests.trees import random_variables
from tests.weights.test_resnet import features, fuse, to_file


@pytest.fixture(scope="module")
def generator():
    module = Generator(4, backbone="resnet_tiny", attention=(), aspp_rates=(1,), norm="frozen")
    images = jax.random.normal(jax.random.key(1), (3, 40, 48, 3))
    return module, random_variables(module, images, train=False), images


def load(generator, path):
    module, variables, images = generator
    loaded = Pretrained(str(path), "deeplabv2", (1,)).load(
        module.make_backbone(), variables, images
    )
    trunk = {name: collection["backbone"] for name, collection in loaded.items()}
    return loaded, trunk


def test_the_trunk_comes_from_the_file_and_the_head_stays(generator, tiny, tmp_path):
    to_file(tmp_path / "trunk.npz", tiny[1])
    loaded, trunk = load(generator, tmp_path / "trunk.npz")
    jax.tree.map(np.testing.assert_array_equal, trunk, tiny[1])
    head, before = (x["params"]["head"] for x in (loaded, generator[1]))
    jax.tree.map(np.testing.assert_array_equal, head, before)


def test_a_fused_file_is_made_trainable(generator, tiny, tmp_path):
    np.savez(tmp_path / "fused.npz", **fuse(to_file(tmp_path / "unused.npz", tiny[1])))
    _, trunk = load(generator, tmp_path / "fused.npz")
    images = generator[2]
    expected = features(tiny[0], tiny[1], 57 * images)  # the pipeline has divided them
    for ours, theirs in zip(features(tiny[0], trunk, images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    # Convolutions of unit variance: what the first norm sees is the first kernel's output.
    assert np.ptp(np.asarray(trunk["batch_stats"]["bn1"]["var"])) == 0
