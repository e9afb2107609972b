"""Small networks in a state that hides nothing, and batches for them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator, perturb
from sassn_jax.models.layers import BatchNorm, Conv, relu
from tests.trees import random_variables

CLASSES = 4
SIZE = (33, 40)


def make_batch(batch_size=2, seed=0):
    """Both halves, the labels of each with some pixels to ignore, some of them filled in."""
    rng = np.random.default_rng(seed)

    def half():
        labels = rng.integers(0, CLASSES, (batch_size, *SIZE))
        labels[0, :9] = 255
        labels[-1, :, 31:] = 255
        valid = np.ones(labels.shape, bool)
        valid[-1, :, 31:] = False
        images = rng.normal(size=(batch_size, *SIZE, 3))
        return {
            "image": jnp.asarray(images, "float32"),
            "label": jnp.asarray(labels, "int32"),
            "valid": jnp.asarray(valid),
        }

    return {"labeled": half(), "unlabeled": half()}


def segmenter(network):
    """A network with an optimizer that subtracts the gradient, so that a step shows it."""
    return Segmenter(network, optax.sgd(1.0))


def with_generator(method, **changes):
    """The method with other fields of its `generator`."""
    return dataclasses.replace(method, generator=dataclasses.replace(method.generator, **changes))


def make_adversarial(**weights):
    """A method whose optimizers subtract the gradient, so that a step shows it."""
    return Adversarial(
        generator=segmenter(Generator(CLASSES, backbone="resnet_tiny", aspp_rates=(1, 2))),
        discriminator=Discriminator(spectral_norm=True),
        discriminator_optimizer=optax.sgd(1.0),
        weights=LossWeights(**weights),
    )


class TinyGenerator(Generator):
    """One convolution with a norm in place of the trunk: it compiles ten times as fast."""

    @nn.compact
    def __call__(self, images, *, train, groups=1, perturbed_group=None):
        x = Conv(16, 5, name="conv")(images)
        x = relu(BatchNorm(self.norm, name="bn")(x, train=train, groups=groups))
        if perturbed_group is not None:
            x = perturb(x, perturbed_group, groups)
        return Conv(self.num_classes, 1, use_bias=True, name="head")(x)


class PixelGenerator(Generator):
    """What it says of a pixel depends on nothing but the pixel."""

    @nn.compact
    def __call__(self, images, *, train, groups=1, perturbed_group=None):
        return Conv(self.num_classes, 1, use_bias=True, name="head")(images)


class PixelDiscriminator(Discriminator):
    """The same of D."""

    @nn.compact
    def __call__(self, probabilities):
        return Conv(1, 1, use_bias=True, name="conv1")(probabilities)


def tiny_state(generator):
    """Random parameters and statistics for a `TinyGenerator`, with an optimizer without a state."""
    images = np.zeros((1, *SIZE, 3), "float32")
    variables = random_variables(generator, images, seed=3, train=False)
    network = NetworkState.create(optax.sgd(1.0), variables)
    return TrainState(step=jnp.int32(7), rng=jax.random.key(0), generator=network)


def converge(matrix, iterations=3):
    """Singular vectors by power iteration, not so far that one more would not show."""
    u = np.random.default_rng(0).normal(size=len(matrix))
    for _ in range(iterations):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return {"u": u.astype(np.float32), "v": v.astype(np.float32)}


def kernel_matrix(kernel):
    """A row for each channel of the output."""
    return np.moveaxis(np.asarray(kernel), -1, 0).reshape(kernel.shape[-1], -1)


@pytest.fixture(scope="session")
def state():
    """Random parameters for the networks of `make_adversarial`, no alpha and no bias at 0."""
    method = make_adversarial()
    images, maps = np.zeros((1, *SIZE, 3), "float32"), np.zeros((1, *SIZE, CLASSES), "float32")
    generator = random_variables(method.generator.network, images, seed=1, train=False)
    discriminator = random_variables(method.discriminator, maps, seed=2)
    discriminator["spectral"] = {
        name: {"kernel_norm": converge(kernel_matrix(conv["kernel"]))}
        for name, conv in discriminator["params"].items()
    }
    return jax.tree.map(
        jnp.asarray,
        TrainState(
            step=jnp.int32(7),
            rng=jax.random.key(0),
            generator=NetworkState.create(method.generator.optimizer, generator),
            discriminator=NetworkState.create(method.discriminator_optimizer, discriminator),
        ),
    )
