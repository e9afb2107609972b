"""Weights of AdvSemiSeg and of torchvision, imported, compute here what they computed there.

A generator crosses by files that PyTorch wrote and `import_weights` read: its weights, and then,
under the same names, the gradients and the statistics that PyTorch arrived at.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.conversion.importing import import_weights
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator
from sassn_jax.models.resnet import ARCHITECTURES
from sassn_jax.weights import store
from tests.trees import assert_trees_close, to_nchw, to_nhwc

# Class and options of the original; norm of ours, and options of the import.
NETWORKS = {
    "deeplabv2": ("AdvSemiSegGenerator", {}, "batch_frozen_affine", {}),
    "deeplabv2 of four branches": (
        "AdvSemiSegGenerator",
        {"evaluated": 4},
        "batch_frozen_affine",
        {"all_branches": True},
    ),
    "deeplabv3": ("TorchvisionDeepLabV3", {}, "batch", {}),
}
MOST = 3e-5
RATES = dict(zip(NETWORKS, [(6, 12), (6, 12, 18, 24), (12, 24, 36)], strict=True))


@pytest.fixture(autouse=True)
def no_dropout(monkeypatch):
    """Its masks are drawn by different generators."""
    monkeypatch.setattr("sassn_jax.models.heads.DROPOUT", 0.0)
    monkeypatch.setattr("sassn_jax.models.heads.AUXILIARY_DROPOUT", 0.0)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def randomize(module, torch):
    """No array at a value that could hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        random = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 4:
            tensor.copy_(random * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var") or name.endswith(".weight"):
            tensor.copy_(1 + 0.2 * random.clamp(-2, 2))
        else:
            tensor.copy_(0.1 * random)


def imported(tensors, architecture, folder, torch, **options):
    """What `import_weights` makes of a state dict."""
    torch.save(tensors, folder / "theirs.pth")
    import_weights(folder / "theirs.pth", architecture, folder / "ours.safetensors", **options)
    variables, about = store.read(folder / "ours.safetensors")
    return jax.tree.map(jnp.asarray, variables), about


def discriminator_params(tensors):
    """The parameters of our discriminator out of a state dict of AdvSemiSeg's."""
    convs = ("conv1", "conv2", "conv3", "conv4", "classifier")
    return {
        f"conv{i}": {
            "kernel": jnp.array(tensors[f"{name}.weight"].permute(2, 3, 1, 0).numpy()),
            "bias": jnp.array(tensors[f"{name}.bias"].numpy()),
        }
        for i, name in enumerate(convs, start=1)
    }


def gradients_of(module, torch):
    """A state dict with gradients in place of parameters."""
    return {
        name: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        for name, tensor in module.state_dict(keep_vars=True).items()
    }


class Pair:
    """One of `NETWORKS`, theirs and ours with the same random weights, and two images.

    Args:
      network: its name.
      trunk: one of `ARCHITECTURES`.
      size: of the images, height and width.
      classes: of the output.
      folder: for files.
      torch: the module.
      originals: the module.
    """

    def __init__(self, network, trunk, size, classes, folder, torch, originals):
        architecture, self.torch = ARCHITECTURES[trunk], torch
        their_class, their_options, norm, options = NETWORKS[network]
        self.theirs = getattr(originals, their_class)(
            architecture.stem, architecture.width, architecture.blocks, classes, **their_options
        )
        randomize(self.theirs, torch)
        self.begin = {key: tensor.clone() for key, tensor in self.theirs.state_dict().items()}
        name = f"{network.split()[0]}_{trunk}"
        self.imported = lambda tensors: imported(tensors, name, folder, torch, **options)
        self.variables, about = self.imported(self.begin)
        assert about["num_classes"] == classes
        model = {**about["model"], "aspp_rates": tuple(about["model"]["aspp_rates"])}
        assert model["aspp_rates"] == RATES[network]
        self.ours = Generator(classes, attention=(), norm=norm, **model)
        self.images, self.weights = normal(1, 2, *size, 3), normal(2, 2, *size, classes)

    def evaluated(self):
        """Logits in evaluation mode, ours and theirs."""
        ours = jax.jit(functools.partial(self.ours.apply, train=False))(self.variables, self.images)
        with self.torch.no_grad():
            theirs, *_ = self.theirs.eval()(to_nchw(self.images, self.torch))
        return ours, to_nhwc(theirs)

    def our_pass(self, variables, images):
        """Logits of both heads in training mode, and the batch statistics after this pass."""
        logits, state = self.ours.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats", "auxiliary"],
            rngs={"dropout": jax.random.key(0)},
        )
        return [logits, *state.get("auxiliary", {}).get("logits", ())], state["batch_stats"]

    def their_pass(self, dtype):
        """Theirs from where ours begins, as tensors; the statistics under our names."""
        self.theirs.load_state_dict(self.begin)
        self.theirs.to(dtype).zero_grad()
        images = to_nchw(self.images, self.torch).to(dtype)
        outputs = [x for x in self.theirs.train()(images) if x is not None]
        return outputs, self.imported(self.theirs.state_dict())[0]["batch_stats"]

    def our_gradients(self):
        """Gradients, logits and statistics of a pass in float64."""

        @jax.jit
        def learn(params, variables, images, weights):
            def loss(params):
                outputs, stats = self.our_pass({**variables, "params": params}, images)
                return objective(outputs, weights), (outputs, stats)

            return jax.grad(loss, has_aux=True)(params)

        with jax.enable_x64(True):
            arguments = self.variables["params"], self.variables, self.images, self.weights
            doubled = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), arguments)
            gradients, (outputs, stats) = jax.device_get(learn(*doubled))
        return gradients, outputs, stats

    def their_gradients(self):
        """As `our_gradients`."""
        outputs, stats = self.their_pass(self.torch.float64)
        objective(outputs, to_nchw(self.weights, self.torch)).backward()
        gradients, _ = self.imported(gradients_of(self.theirs, self.torch))
        return gradients["params"], [to_nhwc(x.detach()) for x in outputs], stats


def objective(outputs, weights):
    """The auxiliary head's counts half."""
    return sum(f * (x * weights).mean() for f, x in zip((1, 0.5), outputs, strict=False))


def errors(outputs, exact):
    """The largest of each output, in units of its largest value."""
    pairs = zip(outputs, exact, strict=True)
    return [np.abs(np.asarray(x) - y).max() / np.abs(y).max() for x, y in pairs]


def check_generator(pair, most=None):
    """Evaluation; then a pass in training: logits and statistics, and in float64 gradients too.

    In float32 gradients tell little: a ReLU that rounding switches changes them by more.

    Args:
      pair: of networks.
      most: error of logits in float32 and training mode that none may have, whatever PyTorch's is.
    """
    ours, theirs = pair.evaluated()
    assert max(errors([ours], [theirs])) < 1e-4
    outputs, stats = jax.device_get(jax.jit(pair.our_pass)(pair.variables, pair.images))
    with pair.torch.no_grad():
        their_outputs, their_stats = pair.their_pass(pair.torch.float32)
    assert_trees_close(stats, their_stats, 1e-3)

    gradients, exact, exact_stats = pair.our_gradients()
    their_gradients, their_exact, their_exact_stats = pair.their_gradients()
    assert max(errors(exact, their_exact)) < 1e-5
    assert_trees_close(exact_stats, their_exact_stats, 1e-5)
    assert_trees_close(gradients, their_gradients, 1e-5)
    # In float32, a hundred layers of batch statistics magnify the roundings of either side.
    in_float32 = errors(outputs, their_exact), errors(map(to_nhwc, their_outputs), their_exact)
    for error, their_error in zip(*in_float32, strict=True):
        print(f"logits in float32: {error:.1e} from exact, PyTorch's {their_error:.1e}")
        assert error < max(1e-4, 2 * their_error), (error, their_error)
        assert most is None or error < most


# With 64 and 96 the pooling rounds up in one project and down in the other; with 65 and 49 alike.
@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize(
    ("network", "size"),
    [
        ("deeplabv2", (64, 96)),
        ("deeplabv2 of four branches", (65, 49)),
        ("deeplabv3", (64, 96)),
        pytest.param("deeplabv2", (65, 49), marks=pytest.mark.slow),
        pytest.param("deeplabv3", (65, 49), marks=pytest.mark.slow),
    ],
)
def test_a_small_generator(network, size, tmp_path, torch, originals):
    check_generator(Pair(network, "resnet_tiny", size, 5, tmp_path, torch, originals), most=MOST)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(321, 321), (192, 256)])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_published_generator(network, size, tmp_path, torch, originals):
    """Minutes, and up to 14 GB of memory."""
    check_generator(Pair(network, "resnet101", size, 21, tmp_path, torch, originals))


@pytest.mark.parametrize(
    ("size", "classes"),
    [((65, 49), 5), pytest.param((321, 321), 21, marks=pytest.mark.slow)],
)
def test_the_discriminator(size, classes, torch, originals):
    theirs = originals.AdvSemiSegDiscriminator(classes)
    params = discriminator_params(theirs.state_dict())
    maps = jax.nn.softmax(normal(3, 2, *size, classes))

    @jax.jit
    def learn(params):
        def loss(params):
            logits = Discriminator().apply({"params": params}, maps)
            return jnp.sum(jnp.sin(logits)), logits

        return jax.grad(loss, has_aux=True)(params)

    gradients, logits = learn(params)
    their_logits = theirs(to_nchw(maps, torch))
    their_logits.sin().sum().backward()
    want = to_nhwc(their_logits)
    np.testing.assert_allclose(logits, want, atol=1e-4 * np.abs(want).max())
    their_gradients = discriminator_params(gradients_of(theirs, torch))
    assert_trees_close(gradients, their_gradients, 1e-3)


def test_parameters_of_the_published_networks(torch, originals):
    """The definitions are of the size that their projects state, dead branches included."""

    def count(module):
        return sum(x.numel() for x in module.parameters())

    with torch.device("meta"):
        resnet101 = (64, 64, (3, 4, 23, 3))
        assert count(originals.TorchvisionDeepLabV3(*resnet101, 21)) == 60_996_202
        assert count(originals.AdvSemiSegGenerator(*resnet101, 21)) == 42_500_160 + 1_548_372
        assert count(originals.AdvSemiSegDiscriminator(21)) == 2_783_169
