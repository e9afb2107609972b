"""Images of one's own, of which some have masks, with the recipe of `configs/voc.py`.

    python -m experiments.prepare --dataset=folder --source=FOLDER --data_dir=DATA
    python -m experiments.train --config=configs/folder.py:method=sassn,labels=1 \
        --config.data_dir=DATA --config.model.weights=FILE.safetensors --workdir=runs/mine

`labels=1` takes all masks; the images of the folder's `unlabeled.txt` have none. See
docs/datasets.md for the folder. Nobody has tuned this for your images: `crop_size`, `num_steps`
with `loss.semi_start` (the step from which unlabelled images take part) and `optimizer.lr` come
first, and `method=supervised` tells what the masks alone give. Images may be of any sizes, and are
scored by windows of `crop_size` (`eval.window`, `eval.stride`). The steps of `unimatch` are those
of VOC's number of images.
"""

from ml_collections import ConfigDict

from configs import voc


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...,backbone=...`."""
    config = voc.get_config(argument)
    config.dataset = "folder"
    config.eval.pad_to = ()
    config.eval.window = config.crop_size
    config.eval.stride = tuple(2 * side // 3 for side in config.crop_size)
    return config
