"""The semi-supervised step against PyTorch autograd on the same small networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator
from sassn_jax.optimizers import discriminator_optimizer, generator_optimizer
from tests.trees import random_variables, to_nchw

CLASSES = 4
SIZE = (49, 65)
NUM_STEPS = 10
RATES = {"learning_rate": 0.01, "num_steps": NUM_STEPS}
DISCRIMINATOR_RATE = 1e-3
TOLERANCE = 1e-6
WIDTHS = (8, 16, 24, 32)  # of D, narrower than its own, which in float64 take half a minute
# Ours on the left, torch's on the right.
LOSSES = {
    "loss/cross_entropy": "cross_entropy",
    "loss/adversarial_labeled": "adversarial_labeled",
    "loss/adversarial_unlabeled": "adversarial_unlabeled",
    "loss/self_training": "semi",
    "self_training/kept": "kept",
    "loss/generator": "generator",
    "loss/discriminator": "discriminator",
}
# Larger than the paper's, for the terms to show.
WEIGHTS = {
    "lambda_adv_labeled": 0.3,
    "lambda_adv_unlabeled": 0.2,
    "lambda_semi": 0.5,
    "semi_threshold": 0.5,
}


def make_batch(seed):
    rng = np.random.default_rng(seed)

    def half():
        image = rng.normal(size=(2, *SIZE, 3)).astype(np.float32)
        label = rng.integers(0, CLASSES, (2, *SIZE)).astype(np.int32)
        label[0, :9] = 255
        label[1, :, 50:] = 255
        return {"image": image, "label": label}

    return {"labeled": half(), "unlabeled": half()}


def to_torch_batch(batch, torch, dtype="float32"):
    return {
        name: {
            "image": to_nchw(half["image"], torch).to(getattr(torch, dtype)),
            "label": torch.from_numpy(half["label"]).long(),
        }
        for name, half in batch.items()
    }


def to_float64(tree):
    def convert(x):
        return jnp.asarray(x, "float64") if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(convert, tree)


def networks(reference, norm):
    """Our two networks and their variables, and torch's in the same state, in float64."""
    generator = Generator(CLASSES, backbone="resnet_tiny", aspp_rates=(2, 4), norm=norm)
    discriminator = Discriminator(spectral_norm=True)
    images = jnp.zeros((1, *SIZE, 3))
    g_variables = random_variables(generator, images, seed=1, train=False)
    maps = jnp.zeros((1, *SIZE, CLASSES))
    d_variables = random_variables(discriminator, maps, seed=2)
    # Vectors some way towards convergence: random ones make sigma tiny and the losses huge.
    iterate = jax.jit(functools.partial(discriminator.apply, mutable=["spectral"]))
    for _ in range(5):
        d_variables = {**d_variables, **iterate(d_variables, maps)[1]}
    theirs = reference.Generator(
        CLASSES,
        stage_sizes=(1, 1, 1, 1),
        stem_width=16,
        widths=(16, 32, 64, 128),
        rates=(2, 4),
        norm=norm,
    )
    their_discriminator = reference.Discriminator(CLASSES, widths=WIDTHS, spectral_norm=True)
    reference.to_torch(theirs, g_variables["params"], {"stats": g_variables["batch_stats"]})
    reference.to_torch(
        their_discriminator, d_variables["params"], {"spectral": d_variables["spectral"]}
    )
    ours = (generator, to_float64(g_variables)), (discriminator, to_float64(d_variables))
    return *ours, theirs.double(), their_discriminator.double()


def assert_moved_alike(network, module, reference, start_params):
    """Parameters by how far they went, all arrays as vectors."""

    def distance(x, y):
        return np.linalg.norm(np.asarray(x) - np.asarray(y))

    def check_move(path, ours, theirs, begin):
        error, moved = distance(ours, theirs), distance(theirs, begin)
        assert error <= TOLERANCE * moved, (jax.tree_util.keystr(path), error, moved)

    def check(path, ours, theirs):
        error, size = distance(ours, theirs), np.linalg.norm(theirs)
        assert error <= TOLERANCE * size, (jax.tree_util.keystr(path), error, size)

    their_params = reference.from_torch(module, network.params)
    jax.tree_util.tree_map_with_path(check_move, network.params, their_params, start_params)
    for tree in network.collections.values():
        jax.tree_util.tree_map_with_path(check, tree, reference.from_torch(module, tree))


@pytest.mark.parametrize(
    ("norm", "fake", "semi_start"),
    [
        ("batch_frozen_affine", "labeled", 1),  # step 0 takes labelled images only
        ("batch", "both", 0),
    ],
)
def test_three_steps_of_both_players(
    torch, reference, float64, monkeypatch, norm, fake, semi_start
):
    monkeypatch.setattr("sassn_jax.models.discriminator.WIDTHS", (*WIDTHS, 1))
    ours, our_d, theirs, their_discriminator = networks(reference, norm)
    method = Adversarial(
        generator=Segmenter(
            ours[0], generator_optimizer(name="sgd", train_norm=norm == "batch", **RATES)
        ),
        discriminator=our_d[0],
        discriminator_optimizer=discriminator_optimizer(
            learning_rate=DISCRIMINATOR_RATE, num_steps=NUM_STEPS
        ),
        weights=LossWeights(semi_start=semi_start, discriminator_fake=fake, **WEIGHTS),
    )
    state = TrainState(
        step=jnp.int32(0),
        rng=jax.random.key(0),
        generator=NetworkState.create(method.generator.optimizer, ours[1]),
        discriminator=NetworkState.create(method.discriminator_optimizer, our_d[1]),
    )
    settings = reference.Settings(
        num_steps=NUM_STEPS,
        semi_start=semi_start,
        discriminator_fake=fake,
        learning_rate=0.01,
        discriminator_learning_rate=DISCRIMINATOR_RATE,
        **WEIGHTS,
    )
    players = reference.make_players(theirs, their_discriminator, settings)
    our_step = jax.jit(method.step)

    for step in range(3):
        batch = make_batch(step)
        their_losses = reference.train_step(
            players, to_torch_batch(batch, torch, "float64"), settings, step
        )
        if step < method.unlabeled_from:
            del batch["unlabeled"]
        state, metrics = our_step(state, to_float64(batch))
        for name, their_name in LOSSES.items():
            assert (name in metrics) == (their_name in their_losses)
            if name in metrics:
                want = float(their_losses[their_name])
                assert float(metrics[name]) == pytest.approx(want, rel=TOLERANCE), (step, name)
        assert_moved_alike(state.generator, theirs, reference, ours[1]["params"])
        assert_moved_alike(state.discriminator, their_discriminator, reference, our_d[1]["params"])
