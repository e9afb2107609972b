"""Training steps of AdvSemiSeg's own networks, from weights that `import_weights` read."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator
from sassn_jax.models.resnet import ARCHITECTURES
from sassn_jax.optimizers import discriminator_optimizer, generator_optimizer
from tests.parity.test_originals import discriminator_params, imported, randomize
from tests.trees import to_nchw

# AdvSemiSeg's, but for a run so short that the schedules show, a decay so large that it shows too,
# and a threshold that divides the pixels.
SETTINGS = {
    "num_steps": 10,
    "learning_rate": 2.5e-4,
    "discriminator_learning_rate": 1e-4,
    "weight_decay": 0.05,
    "lambda_adv_labeled": 0.01,
    "lambda_adv_unlabeled": 0.001,
    "lambda_semi": 0.1,
    "semi_threshold": 0.4,
}
# For ResNet-101 with random weights the usual rate is too high: the loss rises fivefold in five
# steps, and roundings grow up to a thousandfold in one, in PyTorch as in ours.
PUBLISHED = SETTINGS | {"learning_rate": 2.5e-6, "semi_threshold": 0.47}

# Theirs on the left, ours on the right.
NAMES = {
    "cross_entropy": "loss/cross_entropy",
    "adversarial_labeled": "loss/adversarial_labeled",
    "adversarial_unlabeled": "loss/adversarial_unlabeled",
    "self_training": "loss/self_training",
    "kept": "self_training/kept",
    "generator": "loss/generator",
    "discriminator": "loss/discriminator",
}


@pytest.fixture(scope="session")
def original_step(torch):
    return importlib.import_module("tests.parity.original_step")


def make_batch(seed, batch_size, size, classes):
    """Both halves; the labels are of areas, with some pixels to ignore."""
    rng = np.random.default_rng(seed)

    def half():
        image = rng.normal(0, 60, (batch_size, *size, 3)).astype(np.float32)
        coarse = rng.integers(0, classes, (batch_size, 4, 4)).astype(np.int32)
        label = coarse.repeat(-(-size[0] // 4), axis=1).repeat(-(-size[1] // 4), axis=2)
        label = np.ascontiguousarray(label[:, : size[0], : size[1]])
        label[0, :9] = 255
        label[-1, :, -7:] = 255
        return {"image": image, "label": label}

    return {"labeled": half(), "unlabeled": half()}


def to_torch(batch, dtype, torch):
    return {
        name: {
            "image": to_nchw(half["image"], torch).to(getattr(torch, dtype)),
            "label": torch.from_numpy(half["label"]).long(),
        }
        for name, half in batch.items()
    }


def make_method(model, classes, settings):
    """Ours, by the same settings."""
    num_steps = settings["num_steps"]
    return Adversarial(
        generator=Segmenter(
            Generator(classes, attention=(), **model),
            generator_optimizer(
                name="sgd",
                learning_rate=settings["learning_rate"],
                weight_decay=settings["weight_decay"],
                num_steps=num_steps,
            ),
        ),
        discriminator=Discriminator(),
        discriminator_optimizer=discriminator_optimizer(
            learning_rate=settings["discriminator_learning_rate"], num_steps=num_steps
        ),
        weights=LossWeights(
            semi_start=0,
            discriminator_fake="both",
            **{name: settings[name] for name in settings if name.startswith(("lambda", "semi"))},
        ),
    )


def our_losses(method, variables, batches, dtype):
    """Of each step, by name of the metric."""

    def convert(array):
        is_float = jnp.issubdtype(array.dtype, jnp.floating)
        return jnp.asarray(array, dtype if is_float else None)

    generator, discriminator = jax.tree.map(convert, variables)
    state = TrainState(
        step=jnp.int32(0),
        rng=jax.random.key(0),
        generator=NetworkState.create(method.generator.optimizer, generator),
        discriminator=NetworkState.create(method.discriminator_optimizer, discriminator),
    )
    step = jax.jit(method.step, donate_argnums=0)
    for batch in batches:
        state, metrics = step(state, jax.tree.map(convert, batch))
        yield {name: float(value) for name, value in metrics.items()}


def check_steps(trunk, size, classes, batch_size, settings, precision, folder, torch, modules):
    """Every loss of every step within a thousandth of theirs."""
    dtype, steps = precision
    originals, original_step = modules
    architecture = ARCHITECTURES[trunk]
    generator = originals.AdvSemiSegGenerator(
        architecture.stem, architecture.width, architecture.blocks, classes
    )
    discriminator = originals.AdvSemiSegDiscriminator(classes)
    randomize(generator, torch)
    randomize(discriminator, torch)
    g_variables, about = imported(generator.state_dict(), f"deeplabv2_{trunk}", folder, torch)
    d_variables = {"params": discriminator_params(discriminator.state_dict())}
    model = {**about["model"], "aspp_rates": tuple(about["model"]["aspp_rates"])}
    batches = [make_batch(step, batch_size, size, classes) for step in range(steps)]

    training = original_step.Training(
        *(player.to(getattr(torch, dtype)) for player in (generator, discriminator)),
        **settings,
    )
    theirs = [training.step(to_torch(batch, dtype, torch), i) for i, batch in enumerate(batches)]
    del training, generator, discriminator  # gigabytes, before ours come
    with jax.enable_x64(dtype == "float64"):
        method = make_method(model, classes, settings)
        ours = list(our_losses(method, (g_variables, d_variables), batches, dtype))
    for step in range(steps):
        for name, want in theirs[step].items():
            got = ours[step][NAMES[name]]
            print(f"{step} {name}: {want:.6f}, ours {got / want - 1:+.1e}")
            assert got == pytest.approx(want, rel=1e-3), (step, name)
    # The mask has been one.
    assert any(0 < losses["kept"] < 1 for losses in theirs)


@pytest.mark.usefixtures("fast_compile")
def test_five_steps_of_small_networks(tmp_path, torch, originals, original_step):
    modules = (originals, original_step)
    check_steps("resnet_tiny", (65, 97), 5, 2, SETTINGS, ("float32", 5), tmp_path, torch, modules)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [("float32", 1), ("float64", 5)])
def test_steps_of_the_published_networks(precision, tmp_path, torch, originals, original_step):
    """Minutes. In float32 the first step alone: what comes later magnifies its roundings."""
    modules = (originals, original_step)
    check_steps("resnet101", (321, 321), 21, 1, PUBLISHED, precision, tmp_path, torch, modules)
