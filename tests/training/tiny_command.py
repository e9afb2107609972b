"""Runs `sassn VERB` with small networks on few images.

    python -m tests.training.tiny_command VERB --FLAG=VALUE ...

With JAX_ENABLE_X64=1 everything is computed in float64, the images and the parameters too.
"""

import importlib
import os
import sys

import jax
import pytest

from sassn_jax.methods import adversarial
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.training import parallel
from tests.training.conftest import FEW_IMAGES, make_networks_tiny

AS_INPUT = {"dtype": None}  # in place of the config's float32
patch = pytest.MonkeyPatch()
make_networks_tiny(patch)
patch.setattr("sassn_jax.data.scenes.SPLIT_SIZES", FEW_IMAGES)
patch.setattr(parallel, "SMALL", 50)  # or no array of these networks would be shared
for name, value in os.environ.items():
    if name.startswith("PATCH_"):  # a number of seconds in `processes`
        patch.setattr(f"sassn_jax.processes.{name.removeprefix('PATCH_')}", int(value))


def wide(tree):
    return jax.tree.map(lambda x: x.astype("float64") if x.dtype == "float32" else x, tree)


if jax.config.jax_enable_x64:
    put, put_batch = parallel.put, parallel.put_batch
    patch.setattr(parallel, "put", lambda state, shardings: put(wide(state), shardings))
    patch.setattr(parallel, "put_batch", lambda batch, mesh: put_batch(wide(batch), mesh))
    patch.setattr(adversarial, "Discriminator", lambda **fields: Discriminator(**fields | AS_INPUT))

if __name__ == "__main__":
    verb = sys.argv.pop(1)
    importlib.import_module(f"sassn_jax.commands.{verb}").run()
