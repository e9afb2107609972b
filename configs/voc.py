"""PASCAL VOC 2012 with SBD's masks, as in the paper: 321x321, ResNet-101, 20,000 steps.

    python -m experiments.prepare --dataset=voc2012_aug --source=FOLDER --data_dir=DATA
    python -m experiments.train --config=configs/voc.py:method=sassn,labels=1/8 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/voc_sassn

`s4gan` and `mittal` are trained by Mittal et al.'s recipe: twice the steps, more weight decay.
`backbone=deeplabv3` takes the other head. `experiments.import_weights` makes the file of weights.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = common.full_size_config(argument)
    config.dataset = "voc2012_aug"
    config.eval.pad_to = (505, 505)
    if config.method in common.MITTAL:
        config.num_steps = 40_000
        config.optimizer.weight_decay = 5e-4
    return config
