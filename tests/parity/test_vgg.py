"""FCN-8s and the Dilation networks compute what their definitions in PyTorch do."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.layers import bilinear_deconvolution
from sassn_jax.models.networks import create_network
from sassn_jax.models.vgg import Architecture
from tests.trees import assert_trees_close, random_variables, to_nchw, to_nhwc

NETWORKS = {
    "fcn8s": ("fcn8s", {}),
    "dilation8": ("dilation", {"dilations": (1, 1, 2, 4, 8, 16, 1)}),
    "dilation10": ("dilation", {"dilations": (1, 1, 2, 4, 8, 16, 32, 64, 1)}),
}
SMALL = Architecture(widths=(4, 4, 6, 6, 6), fully_connected=8)


@pytest.fixture(scope="session")
def definitions(torch):
    return importlib.import_module("tests.parity.vgg")


@pytest.mark.parametrize(
    ("head", "shape"),
    [("fcn8s", (2, 33, 46)), ("dilation8", (1, 21, 40)), ("dilation10", (2, 19, 9))],
)
@pytest.mark.usefixtures("fast_compile")
def test_logits_and_gradients(head, shape, monkeypatch, torch, definitions):
    """In float64, where rounding switches no ReLU."""
    monkeypatch.setitem(
        importlib.import_module("sassn_jax.models.vgg").ARCHITECTURES, "vgg_tiny", SMALL
    )
    network = create_network(3, backbone="vgg_tiny", head=head)
    rng = np.random.default_rng(0)
    images, weights = rng.normal(size=(*shape, 3)), rng.normal(size=(*shape, 3))
    params = random_variables(network, jnp.asarray(images, jnp.float32), train=False)["params"]

    tensors = jax.tree.map(
        lambda x: torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True), params
    )
    name, options = NETWORKS[head]
    want = getattr(definitions, name)(to_nchw(images, torch), tensors, **options)
    (want * to_nchw(weights, torch)).mean().backward()
    want = to_nhwc(want)
    assert np.std(want) > 1e-3

    with jax.enable_x64(True):

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def learn(params, images, weights):
            logits = network.apply({"params": params}, images, train=False)
            return jnp.mean(logits * weights), logits

        double = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (params, images, weights))
        gradients, exact = jax.device_get(learn(*double))
    np.testing.assert_allclose(exact, want, atol=1e-9 * np.abs(want).max())
    assert_trees_close(gradients, jax.tree.map(lambda x: x.grad.numpy(), tensors), 1e-8)


@pytest.mark.parametrize(("factor", "offset"), [(2, 0), (8, 31), (8, 4)])
def test_the_bilinear_deconvolution(factor, offset, torch, definitions):
    x = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
    want = to_nhwc(definitions.deconv(to_nchw(x, torch), 2 * factor, factor))
    assert want.shape == (2, 8 * factor, 6 * factor, 3)
    size = 8 * factor - offset, 6 * factor - offset
    got = bilinear_deconvolution(jnp.asarray(x), factor, size, offset=offset)
    np.testing.assert_allclose(got, want[:, offset:, offset:], atol=1e-5)
