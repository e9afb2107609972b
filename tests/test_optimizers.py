"""Parameter groups, schedules and steps of the two optimizers against plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.models.generator import Generator
from sassn_jax.models.networks import create_network
from sassn_jax.optimizers import (
    discriminator_optimizer,
    generator_optimizer,
    parameter_groups,
    poly_schedule,
)

# A parameter of each kind, by path.
PATHS = {
    "trunk kernel": ("backbone", "layer1_0", "conv1", "kernel"),
    "norm scale": ("backbone", "bn1", "scale"),
    "head bias": ("head", "conv0", "bias"),
    "alpha": ("attention4", "alpha"),
}


def tree_of(leaves):
    """Nested dicts with a value for each of `PATHS`."""
    tree = {}
    for name, path in PATHS.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaves[name]
    return tree


def leaf(tree, name):
    return functools.reduce(dict.__getitem__, PATHS[name], tree)


def draw(seed):
    values = np.random.default_rng(seed).normal(size=(len(PATHS), 3)).astype(np.float32)
    return dict(zip(PATHS, values, strict=True))


def run(optimizer, gradients):
    """Parameters after each step, by name."""
    params = jax.tree.map(jnp.asarray, tree_of(draw(0)))
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    history = []
    for gradient in gradients:
        updates, state = update(jax.tree.map(jnp.asarray, tree_of(gradient)), state, params)
        params = optax.apply_updates(params, updates)
        history.append({name: np.asarray(leaf(params, name)) for name in PATHS})
    return history


def test_poly_schedule():
    schedule = poly_schedule(2.5e-4, 20_000)
    expected = {0: 2.5e-4, 5000: 2.5e-4 * 0.75**0.9, 10_000: 1.3397168e-4, 20_000: 0.0}
    for step, value in expected.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(poly_schedule(1.0, 10, power=2.0)(5), 0.25, rtol=1e-6)


@pytest.mark.parametrize("train_norm", [False, True])
@pytest.mark.parametrize("backbone", ["resnet_tiny", "resnet101"])
def test_every_parameter_of_a_generator_has_its_group(backbone, train_norm):
    generator = Generator(21, backbone=backbone)
    shapes = jax.eval_shape(
        functools.partial(generator.init, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 33, 33, 3), "float32"),
    )
    groups = parameter_groups(shapes["params"], train_norm=train_norm)
    for path, group in jax.tree.leaves_with_path(groups):
        names = [entry.key for entry in path]
        if names[-1] == "alpha":
            expected = "new_undecayed"
        elif names[0] != "backbone":
            expected = "new"
        elif names[-1] == "kernel":
            expected = "pretrained"
        else:
            # The trunk's convolutions have no bias: what is not a kernel belongs to a norm.
            assert names[-1] in ("scale", "bias")
            expected = "pretrained" if train_norm else "frozen"
        assert group == expected, names
    counts = {name: sum(g == name for g in jax.tree.leaves(groups)) for name in ("new", "frozen")}
    assert counts["new"] == 2 * 6 + 4 * 2  # query, key, value twice; four classifiers
    norms = {"resnet_tiny": 1 + 4 * 4, "resnet101": 1 + 33 * 3 + 4}[backbone]
    assert counts["frozen"] == (0 if train_norm else 2 * norms)


@pytest.mark.parametrize("head", ["fcn8s", "dilation8"])
def test_a_vgg_is_pretrained_biases_included_and_its_head_is_new(head):
    network = create_network(21, backbone="vgg_tiny", head=head)
    images = jax.ShapeDtypeStruct((1, 33, 33, 3), "float32")
    init = functools.partial(network.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), images)["params"]
    groups = parameter_groups(params, train_norm=False)
    assert set(jax.tree.leaves(groups["backbone"])) == {"pretrained"}
    assert set(jax.tree.leaves(groups["head"])) == {"new"}


@pytest.mark.parametrize("train_norm", [False, True])
def test_sgd_over_five_steps(train_norm):
    """As PyTorch computes it: decay joins the gradient, then momentum, then the learning rate."""
    rate, decay, momentum, num_steps, multiplier = 0.1, 0.05, 0.9, 8, 10.0
    optimizer = generator_optimizer(
        name="sgd",
        learning_rate=rate,
        num_steps=num_steps,
        momentum=momentum,
        weight_decay=decay,
        new_layer_multiplier=multiplier,
        train_norm=train_norm,
    )
    factors = {"trunk kernel": 1, "norm scale": int(train_norm), "head bias": 10, "alpha": 10}
    gradients = [draw(seed) for seed in range(1, 6)]
    params = {name: value.astype(np.float64) for name, value in draw(0).items()}
    velocity = dict.fromkeys(PATHS, 0.0)
    for step, (gradient, got) in enumerate(zip(gradients, run(optimizer, gradients), strict=True)):
        learning_rate = rate * (1 - step / num_steps) ** 0.9
        for name in PATHS:
            decayed = gradient[name] + (0 if name == "alpha" else decay) * params[name]
            velocity[name] = momentum * velocity[name] + decayed
            params[name] = params[name] - factors[name] * learning_rate * velocity[name]
            np.testing.assert_allclose(
                got[name], params[name], rtol=1e-4, atol=1e-4, err_msg=f"{name}, step {step}"
            )


def test_frozen_parameters_stay_bit_equal():
    for name in ("sgd", "adam", "adamw"):
        optimizer = generator_optimizer(name=name, learning_rate=0.1, num_steps=8)
        history = run(optimizer, [draw(seed) for seed in range(1, 4)])
        np.testing.assert_array_equal(history[-1]["norm scale"], draw(0)["norm scale"])
        assert np.all(history[-1]["trunk kernel"] != draw(0)["trunk kernel"])


def test_adamw_decays_all_but_alpha_apart_from_the_gradient():
    rate, decay = 0.1, 0.5
    optimizer = generator_optimizer(
        name="adamw", learning_rate=rate, num_steps=10, weight_decay=decay, train_norm=True
    )
    gradient = draw(1)
    (got,) = run(optimizer, [gradient])
    for name, before in draw(0).items():
        multiplier = 10 if name in ("head bias", "alpha") else 1
        # Adam's first step is the sign of the gradient.
        step = np.sign(gradient[name]) + (0 if name == "alpha" else decay) * before
        np.testing.assert_allclose(got[name], before - multiplier * rate * step, rtol=1e-3)


def test_adam_without_a_schedule_over_five_steps():
    """As PyTorch computes it: decay joins the gradient, and both moments with it."""
    rate, decay = 0.01, 0.05
    optimizer = generator_optimizer(
        name="adam", learning_rate=rate, num_steps=4, power=0.0, weight_decay=decay
    )
    gradients = [draw(seed) for seed in range(1, 6)]
    params = {name: value.astype(np.float64) for name, value in draw(0).items()}
    first, second = dict.fromkeys(PATHS, 0.0), dict.fromkeys(PATHS, 0.0)
    for step, (gradient, got) in enumerate(zip(gradients, run(optimizer, gradients), strict=True)):
        for name, multiplier in {"trunk kernel": 1, "head bias": 10, "alpha": 10}.items():
            g = gradient[name] + (0 if name == "alpha" else decay) * params[name]
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            mean = first[name] / (1 - 0.9 ** (step + 1))
            scale = np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + 1e-8
            params[name] = params[name] - multiplier * rate * mean / scale
            np.testing.assert_allclose(got[name], params[name], rtol=1e-4, atol=1e-5)


def test_discriminator_has_adam_with_the_papers_betas():
    rate, num_steps = 0.01, 10
    gradients = [draw(seed) for seed in range(1, 5)]
    history = run(discriminator_optimizer(learning_rate=rate, num_steps=num_steps), gradients)
    params = {name: value.astype(np.float64) for name, value in draw(0).items()}
    first, second = dict.fromkeys(PATHS, 0.0), dict.fromkeys(PATHS, 0.0)
    for step, (gradient, got) in enumerate(zip(gradients, history, strict=True)):
        learning_rate = rate * (1 - step / num_steps) ** 0.9
        for name, g in gradient.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.99 * second[name] + 0.01 * g.astype(np.float64) ** 2
            mean = first[name] / (1 - 0.9 ** (step + 1))
            scale = np.sqrt(second[name] / (1 - 0.99 ** (step + 1))) + 1e-8
            params[name] = params[name] - learning_rate * mean / scale
            np.testing.assert_allclose(got[name], params[name], rtol=1e-4, atol=1e-5)


def test_unknown_optimizer():
    with pytest.raises(ValueError, match=r"^name='lion': expected one of sgd, adam, adamw$"):
        generator_optimizer(name="lion", learning_rate=0.1, num_steps=8)
