"""Cityscapes at 512x1024, as in the paper: whole images, ResNet-101, 40,000 steps.

    python -m experiments.prepare --dataset=cityscapes_512x1024 --source=FOLDER --data_dir=DATA
    python -m experiments.train --config=configs/cityscapes.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/city_sassn

`s4gan` and `mittal` are trained by Mittal et al.'s recipe: 8 crops of 256x512 in place of 2 images.
`backbone=deeplabv3` takes the other head. `experiments.import_weights` makes the file of weights.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "cityscapes_512x1024"
    config.num_steps = 40_000
    config.batch_size = 2
    config.crop_size = (512, 1024)
    config.augment.scale = (1.0, 1.0)
    config.eval_batch_size = 2
    if config.method in common.MITTAL:
        config.batch_size = 8
        config.crop_size = (256, 512)
        config.s4gan.threshold = 0.7
        config.optimizer.weight_decay = 5e-4
        config.optimizer.discriminator_lr = 1e-5
    return config
