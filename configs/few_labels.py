"""Scenes with so few masks that the images without them pay.

sassn train --config=configs/few_labels.py:method=cutmix,labels=1/32 --workdir=runs/few

16 masks. What they teach is what `augment.paste` is for, and a learning rate that suits so few of
them. Images without masks come at a third of the steps, since a teacher that has not learned yet
would teach its errors. docs/demo.md has the figures.
"""

from ml_collections import ConfigDict

from configs import scenes


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...`."""
    config = scenes.get_config(argument)
    config.num_steps = 600
    config.eval_every = 600
    config.checkpoint_every = 100
    config.keep = 1  # a run of minutes need not fall back on an earlier checkpoint
    config.augment.paste = 0.5
    config.optimizer.lr = 1e-2
    config.optimizer.new_layer_multiplier = 0.3

    config.loss.semi_start = config.unimatch.start = config.cutmix.start = 200
    config.cutmix.ema_warm_up = True
    config.cutmix.loss = "cross_entropy"
    config.cutmix.threshold = 0.95
    config.unimatch.strength = 0.3

    config.loss.semi_mixed = True
    config.loss.semi_confidence = 0.95
    config.loss.lambda_semi = 0.5
    config.optimizer.discriminator_lr = 1e-5
    return config
