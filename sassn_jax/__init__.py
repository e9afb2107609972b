"""Semantic segmentation from few labels, in JAX.

A config describes a run; `train` carries it out, or goes on with it, in a folder; `load` gives the
trained network back.

>>> import sassn_jax, tempfile, numpy as np
>>> config = sassn_jax.default_config("supervised", dataset="scenes", num_steps=1, batch_size=2)
>>> config.crop_size, config.model.backbone, config.model.aspp_rates = (32, 32), "resnet_tiny", (1,)
>>> folder = tempfile.mkdtemp() + "/run"
>>> state = sassn_jax.train(config, folder)  # doctest: +ELLIPSIS
run: scenes supervised, 64 images labelled, 448 not; from step 0 to 1 ...
>>> run = sassn_jax.load(folder)
>>> run.predict(np.zeros((40, 60, 3), np.uint8)).ids.shape
(40, 60)

The parts stand alone, too.

>>> import jax, jax.numpy as jnp
>>> network, images = sassn_jax.Generator(5, backbone="resnet_tiny"), jnp.zeros((1, 33, 33, 3))
>>> init = jax.jit(network.init, static_argnames="train")
>>> variables = init(jax.random.key(0), images, train=False)
>>> apply = jax.jit(network.apply, static_argnames="train")
>>> apply(variables, images, train=False).shape
(1, 33, 33, 5)

What this module names is imported when it is first used: `import sassn_jax` alone does not import
JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pallas_kernels.position_attention import position_attention as position_attention
    from sassn_jax import losses as losses
    from sassn_jax import methods as methods
    from sassn_jax.config import Config as Config
    from sassn_jax.conversion.importing import import_weights as import_weights
    from sassn_jax.data import prepare as prepare
    from sassn_jax.errors import InputError as InputError
    from sassn_jax.models.discriminator import Discriminator as Discriminator
    from sassn_jax.models.generator import Generator as Generator
    from sassn_jax.models.vgg_network import VGGNetwork as VGGNetwork
    from sassn_jax.prediction.export import export_run as export
    from sassn_jax.prediction.result import Prediction as Prediction
    from sassn_jax.prediction.run import Run as Run
    from sassn_jax.prediction.run import load_run as load
    from sassn_jax.prediction.scoring import evaluate_run as evaluate
    from sassn_jax.recipes import default_config as default_config
    from sassn_jax.training.loop import train_and_evaluate as train

__all__ = [
    "Config",
    "Discriminator",
    "Generator",
    "InputError",
    "Prediction",
    "Run",
    "VGGNetwork",
    "default_config",
    "evaluate",
    "export",
    "import_weights",
    "load",
    "losses",
    "methods",
    "position_attention",
    "prepare",
    "train",
]

# Where each name is: a module, and the name in it if it is not the module itself.
_PLACES = {
    "Config": ("sassn_jax.config", "Config"),
    "Discriminator": ("sassn_jax.models.discriminator", "Discriminator"),
    "Generator": ("sassn_jax.models.generator", "Generator"),
    "InputError": ("sassn_jax.errors", "InputError"),
    "Prediction": ("sassn_jax.prediction.result", "Prediction"),
    "Run": ("sassn_jax.prediction.run", "Run"),
    "VGGNetwork": ("sassn_jax.models.vgg_network", "VGGNetwork"),
    "default_config": ("sassn_jax.recipes", "default_config"),
    "evaluate": ("sassn_jax.prediction.scoring", "evaluate_run"),
    "export": ("sassn_jax.prediction.export", "export_run"),
    "import_weights": ("sassn_jax.conversion.importing", "import_weights"),
    "load": ("sassn_jax.prediction.run", "load_run"),
    "losses": ("sassn_jax.losses", ""),
    "methods": ("sassn_jax.methods", ""),
    "position_attention": ("pallas_kernels.position_attention", "position_attention"),
    "prepare": ("sassn_jax.data", "prepare"),
    "train": ("sassn_jax.training.loop", "train_and_evaluate"),
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, inside = _PLACES[name]
        found = importlib.import_module(module)
        return getattr(found, inside) if inside else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
