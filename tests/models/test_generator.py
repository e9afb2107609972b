"""The segmentation network as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import Dropout

from sassn_jax.models.attention import PositionAttention
from sassn_jax.models.generator import Generator
from sassn_jax.models.heads import DeepLabV2Head
from sassn_jax.models.layers import resize_bilinear
from tests.trees import assert_trees_close, random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SITES = [(), ("layer3",), ("layer4",), ("layer3", "layer4")]


def make(attention=(), **options):
    return Generator(5, backbone="resnet_tiny", attention=attention, aspp_rates=(1, 2), **options)


@pytest.fixture(scope="module")
def images():
    return draw(2, 41, 49, 3)


@pytest.fixture(scope="module")
def initial(images):
    """Variables at step 0 with attention at both sites."""
    return jax.jit(functools.partial(make(SITES[-1]).init, train=False))(jax.random.key(0), images)


def without_attention(variables, keep):
    params = {
        name: x
        for name, x in variables["params"].items()
        if not name.startswith("attention") or f"layer{name[-1]}" in keep
    }
    return {**variables, "params": params}


def logits(generator, variables, images):
    return jax.jit(functools.partial(generator.apply, train=False))(variables, images)


@pytest.fixture(scope="module")
def plain(images, initial):
    """Logits at step 0 without attention."""
    return logits(make(), without_attention(initial, ()), images)


@pytest.mark.parametrize("attention", SITES)
def test_children(attention, images):
    shapes = jax.eval_shape(
        functools.partial(make(attention).init, train=False), jax.random.key(0), images
    )
    expected = {"backbone", "head"} | {f"attention{site[-1]}" for site in attention}
    assert set(shapes["params"]) == expected
    assert set(shapes["batch_stats"]) == {"backbone"}


@pytest.mark.parametrize("attention", SITES[1:])
def test_at_step_0_is_bit_equal_to_the_network_without_attention(attention, images, initial, plain):
    assert np.std(plain) > 0
    attending = logits(make(attention), without_attention(initial, attention), images)
    np.testing.assert_array_equal(attending, plain)


@pytest.mark.parametrize("site", ["layer3", "layer4"])
def test_an_alpha_other_than_0_matters(site, images, initial, plain):
    variables = jax.tree.map(lambda x: x, without_attention(initial, (site,)))
    name = f"attention{site[-1]}"
    variables["params"][name] = {**variables["params"][name], "alpha": np.float32(1)}
    assert np.abs(logits(make((site,)), variables, images) - plain).max() > 1e-5


@pytest.mark.usefixtures("fast_compile")
def test_attention_after_layer3_reaches_layer4():
    """SA1 stands inside the trunk: what it adds passes through stage 4."""
    images = jnp.asarray(draw(1, 33, 33, 3))
    generator = make(("layer3",))
    variables = random_variables(generator, images, train=False)
    trunk = generator.make_backbone()
    own = {name: tree["backbone"] for name, tree in variables.items()}
    _, plain = jax.jit(functools.partial(trunk.apply, train=False))(own, images)
    apply = functools.partial(
        generator.apply,
        train=False,
        capture_intermediates=lambda module, _: module.name == "backbone",
        mutable=["intermediates"],
    )
    _, state = jax.jit(apply)(variables, images)
    _, attended = state["intermediates"]["backbone"]["__call__"][0]
    assert np.abs(attended - plain).max() > 1e-3


def test_logits_have_the_size_of_the_images(plain):
    assert plain.shape == (2, 41, 49, 5)


@pytest.mark.usefixtures("fast_compile")
def test_two_groups_are_two_forwards():
    """Logits and running statistics, labelled images first: one pass over both halves."""
    generator = make(("layer4",), norm="batch_frozen_affine")
    halves = draw(2, 2, 33, 33, 3)
    halves[1] = 2 * halves[1] + 1
    variables = random_variables(generator, halves[0], train=False)

    @functools.partial(jax.jit, static_argnames="groups")
    def train(stats, images, groups=1):
        return generator.apply(
            {"params": variables["params"], "batch_stats": stats},
            images,
            train=True,
            groups=groups,
            mutable=["batch_stats"],
        )

    first, state = train(variables["batch_stats"], halves[0])
    second, after_both = train(state["batch_stats"], halves[1])
    interleaved = halves.swapaxes(0, 1).reshape(4, 33, 33, 3)
    both, after = train(variables["batch_stats"], interleaved, groups=2)
    np.testing.assert_allclose(both[0::2], first, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(both[1::2], second, rtol=1e-3, atol=1e-4)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), after, after_both
    )


def test_whole_network_of_the_paper():
    shapes = jax.eval_shape(
        functools.partial(Generator(21).init, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 33, 33, 3), "float32"),
    )
    parts = {
        name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in shapes["params"].items()
    }
    assert parts == {
        "backbone": 42_500_160,
        "attention3": 1_312_001,
        "attention4": 5_245_441,
        "head": 1_548_372,
    }


def count_of(**options):
    init = functools.partial(Generator(21, attention=(), **options).init, train=False)
    shapes = jax.eval_shape(
        init, jax.random.key(0), jax.ShapeDtypeStruct((1, 33, 33, 3), "float32")
    )
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


def test_parameters_of_published_networks():
    """AdvSemiSeg's DeepLabv2 and torchvision's `deeplabv3_resnet101` with its auxiliary head."""
    assert count_of() == 42_500_160 + 1_548_372
    deeplabv3 = {"head": "deeplabv3", "aspp_rates": (12, 24, 36), "layout": "torchvision"}
    assert count_of(**deeplabv3, auxiliary_head=True) == 60_996_202
    # The auxiliary head: a 3x3 convolution, its norm, and a classifier with biases.
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    assert count_of(**deeplabv3) == 60_996_202 - auxiliary


def test_auxiliary_logits_are_left_where_they_are_asked_for(images):
    generator = make(auxiliary_head=True)
    variables = random_variables(generator, images, train=False)
    assert set(variables) == {"params", "batch_stats"}
    plain = logits(generator, variables, images)
    apply = functools.partial(generator.apply, train=False, mutable=["auxiliary"])
    with_auxiliary, state = jax.jit(apply)(variables, images)
    np.testing.assert_allclose(with_auxiliary, plain, rtol=1e-4, atol=1e-4)
    (auxiliary,) = state["auxiliary"]["logits"]
    assert auxiliary.shape == plain.shape
    assert np.abs(auxiliary - plain).max() > 1e-2


def train_pass(generator, variables, images):
    """Logits, new statistics, and the gradients of their mean square, in training."""

    def loss(params):
        logits, new = generator.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(logits)), (logits, new["batch_stats"])

    (_, results), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return *results, gradients


@pytest.mark.usefixtures("fast_compile")
def test_bfloat16_is_for_the_computation_alone(images):
    generator = make(SITES[-1])
    variables = random_variables(generator, images, train=False)
    narrow = generator.clone(dtype="bfloat16")
    actual = jax.jit(functools.partial(train_pass, narrow))(variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(actual)} == {jnp.dtype("float32")}
    expected = jax.jit(functools.partial(train_pass, generator))(variables, images)
    # Eight bits of mantissa, through all layers of a random network.
    for x, y in zip(actual[:2], expected[:2], strict=True):
        assert_trees_close({"": x}, {"": y}, 0.1)
    assert not np.allclose(actual[0], expected[0], rtol=1e-4)

    _, state = jax.eval_shape(
        functools.partial(narrow.apply, train=False, capture_intermediates=True), variables, images
    )
    (of_call,) = state["intermediates"].pop("__call__")
    assert of_call.dtype == jnp.float32
    layers = jax.tree.leaves(state["intermediates"])
    assert len(layers) > 30
    assert {layer.dtype for layer in layers} == {jnp.dtype("bfloat16")}


@pytest.mark.usefixtures("fast_compile")
def test_remat_changes_what_is_kept_and_nothing_else(images):
    generator = make()
    variables = random_variables(generator, images, train=False)
    run = jax.jit(train_pass, static_argnums=0)
    plain, remat = (run(generator.clone(remat=remat), variables, images) for remat in (False, True))
    for x, y in zip(remat, plain, strict=True):
        assert_trees_close({"": x}, {"": y}, 1e-5)
    assert jax.tree.structure(remat) == jax.tree.structure(plain)


def test_a_perturbed_group_loses_whole_channels_before_the_head(images, initial):
    """What is left of them is doubled; other groups' logits stay as they are."""
    generator = make(("layer4",), norm="frozen")
    variables = without_attention(initial, ("layer4",))

    @jax.jit
    def apply(key, images):
        return generator.apply(
            variables,
            images,
            train=True,
            groups=2,
            perturbed_group=1,
            rngs={"dropout": key},
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, PositionAttention | Dropout),
        )

    got, found = apply(jax.random.key(0), images)
    features, dropped = (
        np.asarray(found["intermediates"][name]["__call__"][0])
        for name in ("attention4", "Dropout_0")
    )
    kept = np.any(dropped[1] != 0, axis=(0, 1))
    assert 0.4 < kept[np.any(features[1] != 0, axis=(0, 1))].mean() < 0.6
    expected = np.where(kept, 2 * features[1], 0)
    np.testing.assert_allclose(dropped[1], expected, rtol=1e-6)
    head = DeepLabV2Head(5, (1, 2))
    coarse = head.apply(
        {"params": variables["params"]["head"]}, jnp.stack([features[0], jnp.asarray(expected)])
    )
    np.testing.assert_allclose(got, resize_bilinear(coarse, images.shape[1:3]), atol=1e-5)
    assert np.any(apply(jax.random.key(1), images)[0][1] != got[1])
