r"""PASCAL VOC 2012 with SBD's masks, as in the paper: 321x321, ResNet-101, 20,000 steps.

    sassn prepare --dataset=voc2012_aug --source=FOLDER --data_dir=DATA
    sassn train --config=configs/voc.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/voc_sassn

`s4gan` and `mittal` are trained by Mittal et al.'s recipe: twice the steps, more weight decay; on
the paper's network, where their code evaluates two of the head's four branches.
`backbone=deeplabv3` takes the other head. `sassn import_weights` makes the file of weights.
`cutmix` and `unimatch` are trained as their authors train them, on the paper's networks: CutMix's
authors have two of the head's four branches, `--config.model.aspp_rates="(6, 12)"`, and UniMatch's
a DeepLabv3+. `advsemiseg_code` has the batch and the decay of AdvSemiSeg's code.

`method=fcn8s` and `method=dilation`, with `labels=1`, follow what their authors published, from a
VGG-16's weights. Not followed: FCN-8s was trained in three stages of 100,000 steps, which are one
here; Dilation8 in three of other learning rates and batches, on scores that were not upsampled,
with 128x128 of each image's 500x500 pixels labelled. It has the paper's 20,000 steps and crops of
321x321 here, all of them labelled; in scoring, what an image is padded with to 505x505 is the mean
colour, where the authors reflect the image. And the mean colour that the authors of either give is
that of a run from random weights alone: a file of weights brings its own.
"""

from ml_collections import ConfigDict

from configs import common

_MITTAL = {"num_steps": 40_000, "optimizer.weight_decay": 5e-4}
# What the authors of other systems chose for them.
RECIPES = {
    "advsemiseg_code": {"batch_size": 10, "optimizer.weight_decay": 5e-4},
    "fcn8s": {
        "num_steps": 300_000,
        "batch_size": 1,
        "crop_size": (500, 500),  # all of an image
        "eval_every": 10_000,
    },
    "dilation": {"batch_size": 14},
    "s4gan": _MITTAL,
    "mittal": _MITTAL,
    "cutmix": {
        "num_steps": 40_000,
        "batch_size": 10,
        "unlabeled": "all",
        "model.norm": "frozen",
        "optimizer.name": "adam",
        "optimizer.lr": 3e-6,  # 3e-5 for new layers
        "optimizer.weight_decay": 0.0,
        "optimizer.poly_power": 0.0,
    },
    "unimatch": {
        "num_steps": 80 * 10_582 // 8,
        "model.norm": "batch",
        "augment.scale": (0.5, 2.0),
        "optimizer.lr": 1e-3,
        "optimizer.lr_batch_size": 8,
    },
}
# 80 epochs of the unlabelled images, by `labels`; with others, such as a file, of all images.
UNIMATCH_STEPS = {"1/8": 80 * 9260 // 8, "1/4": 80 * 7937 // 8, "1/2": 80 * 5291 // 8}


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "voc2012_aug"
    config.eval.pad_to = (505, 505)
    config.update_from_flattened_dict(RECIPES.get(config.method, {}))
    if config.method == "unimatch":
        config.num_steps = UNIMATCH_STEPS.get(config.labels, config.num_steps)
    return config
