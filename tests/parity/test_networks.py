import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator
from tests.trees import assert_trees_close, random_variables, to_nchw, to_nhwc

pytestmark = pytest.mark.usefixtures("fast_compile")

CLASSES = 5
TINY = {"stage_sizes": (1, 1, 1, 1), "stem_width": 16, "widths": (16, 32, 64, 128)}
OPTIONS = {"num_classes": CLASSES, "qk_reduction": 8}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("norm", "layout", "attention", "size"),
    [
        ("batch_frozen_affine", "caffe", ("layer3", "layer4"), (65, 49)),
        # 64 and 96 halve to even sizes, which the pooling of one layout rounds up.
        ("frozen", "caffe", ("layer4",), (64, 96)),
        ("frozen", "torchvision", ("layer4",), (64, 96)),
        ("batch", "torchvision", ("layer3",), (47, 33)),
    ],
)
def test_generator(torch, reference, norm, layout, attention, size):
    images, weights = normal(0, 2, *size, 3), normal(1, 2, *size, CLASSES)
    ours = Generator(
        backbone="resnet_tiny",
        aspp_rates=(2, 4),
        norm=norm,
        attention=attention,
        layout=layout,
        **OPTIONS,
    )
    variables = random_variables(ours, images, train=False)
    params, batch_stats = variables["params"], variables["batch_stats"]
    theirs = reference.Generator(
        rates=(2, 4),
        norm=norm,
        attention=attention,
        layout=layout,
        **OPTIONS,
        **TINY,
    )
    reference.to_torch(theirs, params, {"batch_stats": batch_stats})

    @jax.jit
    def learn(params):
        def loss(params):
            logits, state = ours.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.mean(logits * weights), (logits, state["batch_stats"])

        return jax.grad(loss, has_aux=True)(params)

    evaluated = jax.jit(functools.partial(ours.apply, train=False))(variables, images)
    theirs.eval()
    want = to_nhwc(theirs(to_nchw(images, torch)))
    np.testing.assert_allclose(evaluated, want, atol=2e-5 * np.abs(want).max())

    gradients, (logits, new_stats) = learn(params)
    theirs.train()
    their_logits = theirs(to_nchw(images, torch))
    (their_logits * to_nchw(weights, torch)).mean().backward()
    want = to_nhwc(their_logits)
    np.testing.assert_allclose(logits, want, atol=2e-5 * np.abs(want).max())
    assert_trees_close(gradients, reference.from_torch(theirs, params, gradients=True), 1e-3)
    assert_trees_close(new_stats, reference.from_torch(theirs, batch_stats), 1e-4)


@pytest.mark.parametrize(("spectral_norm", "size"), [(True, (65, 49)), (False, (32, 97))])
def test_discriminator(torch, reference, spectral_norm, size):
    maps = jax.nn.softmax(normal(0, 2, *size, CLASSES))
    ours = Discriminator(spectral_norm=spectral_norm)
    variables = random_variables(ours, maps)
    params = variables["params"]
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    theirs = reference.Discriminator(CLASSES, spectral_norm=spectral_norm)
    reference.to_torch(theirs, params, collections)

    @jax.jit
    def learn(params):
        def loss(params):
            logits, state = ours.apply({"params": params, **collections}, maps, mutable=True)
            state.pop("params", None)
            return jnp.sum(jnp.sin(logits)), (logits, state)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (logits, state) = learn(params)
    theirs.train()
    their_logits = theirs(to_nchw(maps, torch))
    their_logits.sin().sum().backward()
    want = to_nhwc(their_logits)
    np.testing.assert_allclose(logits, want, atol=1e-4 * np.abs(want).max())
    assert_trees_close(gradients, reference.from_torch(theirs, params, gradients=True), 1e-3)
    for name, tree in collections.items():
        assert_trees_close(state[name], reference.from_torch(theirs, tree), 1e-4)

    # In evaluation both take the stored vectors as they are, twice the same.
    theirs.eval()
    evaluated = jax.jit(ours.apply)({"params": params, **state}, maps)
    for _ in range(2):
        want = to_nhwc(theirs(to_nchw(maps, torch)))
        np.testing.assert_allclose(evaluated, want, atol=1e-4 * np.abs(want).max())
