r"""Cityscapes at 512x1024, as in the paper: whole images, ResNet-101, 40,000 steps.

    sassn prepare --dataset=cityscapes_512x1024 --source=FOLDER --data_dir=DATA
    sassn train --config=configs/cityscapes.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/city_sassn

`s4gan` and `mittal` are trained by Mittal et al.'s recipe: 8 crops of 256x512 in place of 2 images.
`backbone=deeplabv3` takes the other head. `sassn import_weights` makes the file of weights.
`cutmix` and `unimatch` are trained as their authors train them, on the paper's networks, where
CutMix's authors have two of the head's four branches, `--config.model.aspp_rates="(6, 12)"`.
UniMatch cuts 512x1024 pixels out of the paper's images, scaled, where its authors cut 801x801 out
of 1024x2048, and goes without the hard example mining of their cross entropy.

`method=dilation` is Dilation10 here, as published for Cityscapes, though on images of twice this
size, and not in stages: it has the paper's batch of 2 and 40,000 steps here, and its authors' mean
colour only without a file of weights, which brings its own. How FCN-8s was trained on Cityscapes
was not published: `method=fcn8s` has VOC's optimizer, and the paper's batches and steps.
"""

from ml_collections import ConfigDict

from configs import common

_MITTAL = {
    "batch_size": 8,
    "crop_size": (256, 512),
    "s4gan.threshold": 0.7,
    "optimizer.weight_decay": 5e-4,
    "optimizer.discriminator_lr": 1e-5,
}
# What the authors of other systems chose for them.
RECIPES = {
    "dilation": {"model.head": "dilation10", "image.mean": (72.39, 82.91, 73.16)},
    "s4gan": _MITTAL,
    "mittal": _MITTAL,
    "cutmix": {
        "batch_size": 4,
        "crop_size": (256, 512),
        "unlabeled": "all",
        "model.norm": "frozen",
        "optimizer.name": "adam",
        "optimizer.lr": 3e-6,  # 3e-5 for new layers
        "optimizer.weight_decay": 0.0,
        "optimizer.poly_power": 0.0,
    },
    "unimatch": {
        "num_steps": 240 * 2975 // 8,
        "batch_size": 8,
        "augment.scale": (0.5, 2.0),
        "model.norm": "batch",
        "unimatch.threshold": 0.0,  # every pixel teaches
        "optimizer.lr": 5e-3,
        "optimizer.lr_batch_size": 8,
        "optimizer.new_layer_multiplier": 1.0,
    },
}
# 240 epochs of the unlabelled images, by `labels`; with others, such as a file, of all images.
UNIMATCH_STEPS = {"1/8": 240 * 2604 // 8, "1/4": 240 * 2232 // 8, "1/2": 240 * 1488 // 8}


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "cityscapes_512x1024"
    config.num_steps = 40_000
    config.batch_size = 2
    config.crop_size = (512, 1024)
    config.augment.scale = (1.0, 1.0)
    config.eval_batch_size = 2
    config.update_from_flattened_dict(RECIPES.get(config.method, {}))
    if config.method == "unimatch":
        config.num_steps = UNIMATCH_STEPS.get(config.labels, config.num_steps)
    return config
