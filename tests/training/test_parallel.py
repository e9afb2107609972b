"""Batches over two devices."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh

from sassn_jax.data import Normalize
from sassn_jax.errors import InputError
from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.consistency import UniMatchWeights, WeakToStrong
from sassn_jax.methods.cutmix import CutMix, CutMixWeights
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.supervised import Supervised
from sassn_jax.methods.unimatch import UniMatch
from sassn_jax.models.generator import Generator
from sassn_jax.models.image_discriminator import ImageDiscriminator
from sassn_jax.training import parallel
from tests.methods.conftest import CLASSES, TinyGenerator, make_batch, tiny_state
from tests.trees import random_variables

pytestmark = pytest.mark.skipif(jax.device_count() != 2, reason="written for two devices")


def test_each_device_takes_an_equal_share_of_a_batch():
    mesh = parallel.make_mesh(4)
    assert list(mesh.devices.flat) == jax.devices()
    assert parallel.describe(mesh) == "2 x cpu"
    batch = {"labeled": {"image": np.arange(4.0 * 3).reshape(4, 3), "label": np.arange(4)}}
    placed = parallel.put_batch(batch, mesh)
    shards = placed["labeled"]["image"].addressable_shards
    assert [shard.data.shape for shard in shards] == [(2, 3), (2, 3)]
    assert {shard.device for shard in shards} == set(jax.devices())
    np.testing.assert_array_equal(placed["labeled"]["label"], batch["labeled"]["label"])


def test_every_device_holds_a_replicated_state_whole():
    mesh = parallel.make_mesh(2)
    x = jax.device_put(jnp.arange(6), parallel.replicated(mesh))
    assert [shard.data.shape for shard in x.addressable_shards] == [(6,), (6,)]


def test_a_batch_that_cannot_be_shared_evenly():
    with pytest.raises(InputError, match="batch_size=3: expected a multiple of the 2 devices"):
        parallel.make_mesh(3)
    with pytest.raises(InputError, match="a multiple of the 2 devices times accumulation=2"):
        parallel.make_mesh(6, accumulation=2)


@pytest.mark.usefixtures("fast_compile")
def test_two_devices_take_the_step_of_one():
    """Batch statistics and losses are over the whole batch, not over a device's share of it."""
    generator = Generator(
        3, backbone="resnet_tiny", attention=(), aspp_rates=(1,), norm="batch_frozen_affine"
    )
    method = Supervised(Segmenter(generator, optax.sgd(0.1)))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 33, 33)).astype(np.int32)
    labels[1, :30] = 255  # most labelled pixels are on one device
    batch = {"labeled": {"image": rng.normal(size=(2, 33, 33, 3)), "label": labels}}
    batch["labeled"]["image"][1] *= 3
    batch["labeled"]["image"] = batch["labeled"]["image"].astype(np.float32)
    variables = random_variables(generator, batch["labeled"]["image"], train=False)
    state = jax.tree.map(
        jnp.asarray,
        TrainState(
            step=jnp.int32(0),
            rng=jax.random.key(0),
            generator=NetworkState.create(method.generator.optimizer, variables),
            discriminator=None,
        ),
    )
    step = jax.jit(method.step)

    alone, metrics_alone = step(state, jax.tree.map(jnp.asarray, batch))
    mesh = parallel.make_mesh(2)
    shared, metrics = step(
        jax.device_put(state, parallel.replicated(mesh)), parallel.put_batch(batch, mesh)
    )
    for name, value in metrics_alone.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3)
    for x, y in zip(
        jax.tree.leaves(shared.generator), jax.tree.leaves(alone.generator), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize("kind", [CutMix, UniMatch])
def test_two_devices_paste_from_each_others_images(kind, monkeypatch):
    """One image each: the box, its target and what is filled there are the other device's."""
    # Colours take long to compile, and change each image by itself.
    monkeypatch.setattr(
        "sassn_jax.methods.consistency.strong_view", lambda _, images, *__: 2 * images
    )
    term = {
        CutMix: CutMixWeights(threshold=0.5),
        UniMatch: WeakToStrong(UniMatchWeights(threshold=0.3), Normalize()),
    }[kind]
    method = kind(Segmenter(TinyGenerator(CLASSES), optax.sgd(0.1)), term)
    state, batch = tiny_state(method.generator.network), make_batch()
    if kind is CutMix:
        teacher = jax.tree.map(lambda x: 1.1 * x, state.generator.variables)
        state = state.replace(teacher=teacher)
    step = jax.jit(method.step)
    alone, metrics_alone = step(state, batch)
    mesh = parallel.make_mesh(2)
    shared, metrics = step(
        jax.device_put(state, parallel.replicated(mesh)), parallel.put_batch(batch, mesh)
    )
    for name, value in metrics_alone.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)
    trees = ((tree.generator, tree.teacher) for tree in (shared, alone))
    for x, y in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("fast_compile")
def test_two_devices_match_the_features_of_all_images():
    """Feature matching is of the means over the images of both."""
    method = S4GAN(
        generator=Segmenter(TinyGenerator(CLASSES), optax.sgd(0.1)),
        discriminator=ImageDiscriminator(),
        discriminator_optimizer=optax.sgd(0.1),
        weights=S4GANWeights(threshold=0.0),
    )
    batch = make_batch()
    state = jax.jit(method.init)(jax.random.key(0), batch)
    step = jax.jit(method.step)
    alone, metrics_alone = step(state, batch)
    mesh = parallel.make_mesh(2)
    shared, metrics = step(
        jax.device_put(state, parallel.replicated(mesh)), parallel.put_batch(batch, mesh)
    )
    assert metrics["loss/feature_matching"] > 0
    for name, value in metrics_alone.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)
    trees = ((tree.generator.params, tree.discriminator.params) for tree in (shared, alone))
    for x, y in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


# Of ResNet-101 and of both discriminators; the last two are small, and have no even axis.
SHAPES = [
    (1, 1, 256, 64),
    (3, 3, 64, 64),
    (3, 3, 256, 256),
    (1, 1, 2048, 1024),
    (3, 3, 2048, 21),
    (4, 4, 256, 512),
    (7, 7, 3, 64),
    (129, 129),
]


def sizes_on_a_device(devices: int) -> list[int]:
    """The numbers that a device holds of each shape if the parameters are sharded."""
    axes = parallel.mesh_shape(devices)
    mesh = AbstractMesh(tuple(axes.values()), tuple(axes))
    assert mesh.size == devices
    arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in SHAPES]
    shardings = parallel.state_shardings(arrays, mesh, shard_params=True)
    pairs = zip(SHAPES, shardings, strict=True)
    return [math.prod(sharding.shard_shape(shape)) for shape, sharding in pairs]


@pytest.mark.parametrize("numbers", [[1, 2, 4, 8, 16, 64, 512, 4096], [1, 3, 6, 24, 96]])
def test_more_devices_never_hold_more_of_a_sharded_array_each(numbers):
    by_number = [sizes_on_a_device(number) for number in numbers]
    for fewer, more in itertools.pairwise(by_number):
        assert all(y <= x for x, y in zip(fewer, more, strict=True))
    totals = [sum(sizes) for sizes in by_number]
    assert totals == sorted(set(totals), reverse=True)  # and of all together each holds less


def test_as_many_devices_as_can_share_a_sharded_array():
    assert sizes_on_a_device(512) == [
        256 * 64 // 256,
        9 * 64 * 64 // 64,
        9 * 256 * 256 // 256,
        2048 * 1024 // 512,
        9 * 2048 * 21 // 512,
        16 * 256 * 512 // 512,
        49 * 3 * 64,
        129 * 129,
    ]


def test_a_sharded_state_is_split_along_its_longest_axis_that_the_devices_divide(monkeypatch):
    monkeypatch.setattr(parallel, "SMALL", 20)
    mesh = parallel.make_mesh(2)
    tree = {
        "longest": jnp.zeros((3, 4, 10)),
        "first of two": jnp.zeros((6, 6)),
        "another": jnp.zeros((4, 7)),
        "odd": jnp.zeros((5, 7)),
        "small": jnp.zeros(18),
        "number": jnp.zeros(()),
        "key": jax.random.key(0),
    }
    wanted = {"longest": (3, 4, 5), "first of two": (3, 6), "another": (2, 7)}
    for shard_params in (False, True):
        shardings = parallel.state_shardings(tree, mesh, shard_params=shard_params)
        assert {sharding.mesh for sharding in shardings.values()} == {mesh}
        for name, x in jax.device_put(tree, shardings).items():
            shapes = {shard.data.shape for shard in x.addressable_shards}
            assert shapes == {wanted.get(name, x.shape) if shard_params else x.shape}, name
