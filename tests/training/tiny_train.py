"""`sassn train` on few generated scenes with tiny networks, as a program of its own.

Loader processes import this file too, and so see the same images.
"""

import sys

from sassn_jax.commands import train
from sassn_jax.data import scenes
from sassn_jax.models import discriminator, networks
from tests.methods.conftest import TinyGenerator
from tests.training.conftest import FEW_IMAGES

scenes.SPLIT_SIZES = FEW_IMAGES
networks.Generator = TinyGenerator
discriminator.WIDTHS = (4, 4, 4, 4, 1)

if __name__ == "__main__":
    sys.argv[0] = "train"
    train.run()
