"""Scenes: generated images in which a cue far away decides between two classes.

sassn train --config=configs/scenes.py:method=sassn,labels=1/8 --workdir=runs/scenes

`method=fcn8s` and `method=dilation` take a narrow VGG, from random weights as the others here, and
Dilation8: Dilation10's context would see a map of 12x12 positions from 64 away.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...`."""
    config = common.base_config(argument)
    config.dataset = "scenes"
    config.num_steps = 1500
    config.batch_size = 8
    config.crop_size = (96, 96)
    config.log_every = 50
    config.eval_every = 500
    config.checkpoint_every = 500
    config.eval_batch_size = 32

    config.model.backbone = "vgg_tiny" if common.is_on_vgg(config) else "resnet_tiny"
    config.model.norm = "batch"
    config.model.aspp_rates = (1, 2)

    config.image.mean = (127.5, 127.5, 127.5)
    config.image.std = (64.0, 64.0, 64.0)
    config.augment.scale = (1.0, 1.0)

    config.loss.semi_start = 400

    config.optimizer.name = "adamw"
    config.optimizer.lr = 3e-3
    config.optimizer.new_layer_multiplier = 1.0
    return config
