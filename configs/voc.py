"""PASCAL VOC 2012 with SBD's masks, as in the paper: 321x321, ResNet-101, 20,000 steps.

    python -m experiments.prepare --dataset=voc2012_aug --source=FOLDER --data_dir=DATA
    python -m experiments.train --config=configs/voc.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/voc_sassn

`backbone=deeplabv3` takes the other head. `experiments.import_weights` makes the file of weights.
`cutmix` and `unimatch` are trained as their authors train them, on the paper's networks.
"""

from ml_collections import ConfigDict

from configs import common

RECIPES = {
    "cutmix": {
        "num_steps": 40_000,
        "batch_size": 10,
        "model.norm": "frozen",
        "optimizer.name": "adam",
        "optimizer.lr": 3e-6,  # 3e-5 for new layers
        "optimizer.weight_decay": 0.0,
        "optimizer.poly_power": 0.0,
    },
    "unimatch": {
        "num_steps": 80 * 10_582 // 8,  # 80 epochs; the authors count unlabelled images alone
        "model.norm": "batch",
        "augment.scale": (0.5, 2.0),
        "optimizer.lr": 1e-3,
        "optimizer.lr_batch_size": 8,
    },
}


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "voc2012_aug"
    config.eval.pad_to = (505, 505)
    config.update_from_flattened_dict(RECIPES.get(config.method, {}))
    return config
