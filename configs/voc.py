"""PASCAL VOC 2012 with SBD's masks, as in the paper: 321x321, ResNet-101, 20,000 steps.

    python -m experiments.prepare --dataset=voc2012_aug --source=FOLDER --data_dir=DATA
    python -m experiments.train --config=configs/voc.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/voc_sassn

`backbone=deeplabv3` takes the other head. `experiments.import_weights` makes the file of weights.

`method=fcn8s` and `method=dilation`, with `labels=1`, follow what their authors published, from a
VGG-16's weights. Not followed: FCN-8s was trained in three stages of 100,000 steps, which are one
here; Dilation8 in three of other learning rates, on scores that were not upsampled, with 128x128 of
each image's 500x500 pixels labelled.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "voc2012_aug"
    config.eval.pad_to = (505, 505)
    if config.method == "fcn8s":
        config.num_steps = 300_000
        config.batch_size = 1
        config.crop_size = (500, 500)  # all of an image
        config.eval_every = 10_000
    if config.method == "dilation":
        config.batch_size = 14
    return config
