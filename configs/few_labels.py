"""Scenes with so few masks that the images without them pay.

sassn train --config=configs/few_labels.py:method=cutmix,labels=1/32 --workdir=runs/few

With 16 masks `augment.paste` and a learning rate for few masks help most. mIoU on the test split is
0.578 with `method=supervised` and 0.597 with `cutmix`, the mean of three seeds (docs/demo.md). One
run takes two to three minutes on one core of an AMD EPYC.

With `cutmix`, `unimatch` and the paper's methods the images without masks come at a third of the
steps, since a network that has not learned yet would teach its errors.
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
    config.unimatch.strength = 0.3  # the colour of the signal decides between two classes

    config.loss.semi_mixed = True
    config.loss.semi_confidence = 0.95
    config.loss.lambda_semi = 0.5
    config.optimizer.discriminator_lr = 1e-5  # or D wins, and trusts next to nothing
    return config
