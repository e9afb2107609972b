"""Sizes and parameter counts of the trunks against published ones, and what their switches do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.layers import NORMS
from sassn_jax.models.resnet import ARCHITECTURES, LAYOUTS, Architecture, Bottleneck, ResNet
from tests.trees import random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def shapes_of(name, size, **options):
    """Shapes of the variables and of the features, with nothing computed."""
    trunk = ResNet(ARCHITECTURES[name], **options)
    images = jax.ShapeDtypeStruct((1, *size, 3), "float32")
    return jax.eval_shape(
        functools.partial(trunk.init_with_output, train=False), jax.random.key(0), images
    )


@pytest.mark.parametrize(
    ("size", "layout", "expected"),
    [
        ((321, 321), "caffe", (41, 41)),
        ((512, 1024), "caffe", (65, 129)),
        ((505, 505), "caffe", (64, 64)),
        ((32, 33), "caffe", (5, 5)),
        ((321, 321), "torchvision", (41, 41)),
        ((512, 1024), "torchvision", (64, 128)),
        ((32, 33), "torchvision", (4, 5)),
    ],
)
def test_feature_sizes(size, layout, expected):
    (layer3, layer4), _ = shapes_of("resnet50", size, layout=layout)
    assert layer3.shape == (1, *expected, 1024)
    assert layer4.shape == (1, *expected, 2048)


@pytest.mark.parametrize(
    ("name", "layer3", "layer4"),
    [("resnet50", 1024, 2048), ("resnet50_thin", 512, 1024), ("resnet_tiny", 256, 512)],
)
def test_feature_channels(name, layer3, layer4):
    features, _ = shapes_of(name, (33, 33))
    assert [x.shape for x in features] == [(1, 5, 5, layer3), (1, 5, 5, layer4)]


# torchvision's counts of resnet101 and resnet50 without the classifier's 2,049,000.
@pytest.mark.parametrize(("name", "count"), [("resnet101", 42_500_160), ("resnet50", 23_508_032)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameter_counts(name, count, layout):
    _, variables = shapes_of(name, (33, 33), layout=layout)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_blocks_are_named_as_in_torchvision():
    _, variables = shapes_of("resnet50", (33, 33))
    params = variables["params"]
    blocks = [f"layer{s + 1}_{b}" for s, n in enumerate((3, 4, 6, 3)) for b in range(n)]
    assert set(params) == {"conv1", "bn1", *blocks}
    inside = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}
    assert set(params["layer3_1"]) == inside
    assert set(params["layer3_0"]) == inside | {"downsample_conv", "downsample_bn"}
    assert set(params["bn1"]) == {"scale", "bias"}
    assert set(variables["batch_stats"]["bn1"]) == {"mean", "var"}
    assert not any("bias" in conv for name, conv in params["layer1_0"].items() if "conv" in name)


@pytest.mark.parametrize(
    ("layout", "firsts"), [("caffe", (1, 1, 2, 4)), ("torchvision", (1, 1, 1, 2))]
)
def test_dilations_and_strides_of_a_layout(layout, firsts, monkeypatch):
    made = {}

    def record(**kwargs):
        made[kwargs["name"]] = kwargs["dilation"], kwargs["stride"], kwargs["stride_in_first"]
        return Bottleneck(**kwargs)

    monkeypatch.setattr("sassn_jax.models.resnet.Bottleneck", record)
    shapes_of("resnet50", (33, 33), layout=layout)
    strides, dilations = (1, 2, 1, 1), (1, 1, 2, 4)
    for stage in range(4):
        first = firsts[stage], strides[stage], layout == "caffe"
        assert made[f"layer{stage + 1}_0"] == first
        assert made[f"layer{stage + 1}_1"] == (dilations[stage], 1, layout == "caffe")


def test_a_block_sees_as_far_as_its_dilation():
    x = np.zeros((1, 19, 19, 64), np.float32)
    x[0, 9, 9] = 1
    block = Bottleneck(16, stride=1, dilation=4, project=False, stride_in_first=True, norm="frozen")
    variables = random_variables(block, x, train=False, groups=1)
    y, before = (
        np.asarray(block.apply(variables, jnp.asarray(image), train=False, groups=1))
        for image in (x, np.zeros_like(x))
    )
    touched = np.argwhere(np.any(y != before, axis=(0, 3)))
    assert set(map(tuple, touched)) <= {(i, j) for i in (5, 9, 13) for j in (5, 9, 13)}
    assert len(touched) == 9


@pytest.mark.parametrize("stride_in_first", [True, False])
def test_where_the_stride_stands(stride_in_first):
    """A stride in the first 1x1 never looks at odd pixels; one in the 3x3 does."""
    x = draw(1, 9, 9, 8)
    block = Bottleneck(
        4, stride=2, dilation=1, project=True, stride_in_first=stride_in_first, norm="frozen"
    )
    variables = random_variables(block, x, train=False, groups=1)
    changed = x.copy()
    changed[:, 1::2, 1::2] += 1
    y, z = (
        block.apply(variables, jnp.asarray(image), train=False, groups=1) for image in (x, changed)
    )
    assert y.shape == (1, 5, 5, 16)
    assert np.array_equal(y, z) == stride_in_first


def test_hook_after_stage_3_feeds_stage_4():
    trunk = ResNet(ARCHITECTURES["resnet_tiny"], norm="frozen")
    images = jnp.asarray(draw(1, 33, 33, 3))
    variables = random_variables(trunk, images, train=False)

    @functools.partial(jax.jit, static_argnums=0)
    def features(after_layer3):
        return trunk.apply(variables, images, train=False, after_layer3=after_layer3)

    plain3, plain4 = features(lambda x: x)
    hooked3, hooked4 = features(lambda x: 2 * x)
    np.testing.assert_allclose(hooked3, 2 * plain3, rtol=1e-6)
    assert np.abs(hooked4 - plain4).max() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_mode_trains_scale_and_bias(norm):
    block = Bottleneck(4, stride=1, dilation=2, project=True, stride_in_first=True, norm=norm)
    x = jnp.asarray(draw(2, 5, 5, 8))
    variables = jax.tree.map(jnp.asarray, random_variables(block, x, train=False, groups=1))

    @jax.jit
    def gradients(params):
        def loss(params):
            y, _ = block.apply(
                {**variables, "params": params}, x, train=True, groups=1, mutable=["batch_stats"]
            )
            return jnp.sum(y**2)

        return jax.grad(loss)(params)

    for path, gradient in jax.tree.leaves_with_path(gradients(variables["params"])):
        is_norm = path[-1].key in ("scale", "bias")
        assert bool(np.any(gradient)) == (not is_norm or norm == "batch"), path


def test_remat_keeps_of_a_block_its_input():
    def kept(remat):
        """Elements that the backward pass is given, beside the parameters."""
        trunk = ResNet(Architecture(stem=8, width=8, blocks=(1, 1, 12, 1)), remat=remat)
        images = jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32)
        init = functools.partial(trunk.init, train=False)
        variables = jax.eval_shape(init, jax.random.key(0), images)

        def features(params, variables, images):
            return trunk.apply({**variables, "params": params}, images, train=False)

        _, backward = jax.eval_shape(
            lambda *arguments: jax.vjp(features, *arguments), variables["params"], variables, images
        )
        return sum(x.size for x in jax.tree.leaves(backward) if x.ndim == 4 and len(x) == 1)

    of_a_block = 9 * 9 * 32
    assert 12 * of_a_block < kept(remat=True) < 0.5 * kept(remat=False)
