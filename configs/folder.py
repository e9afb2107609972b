r"""Images of one's own, of which some have masks, with the recipe of `configs/voc.py`.

    sassn train --config=configs/folder.py:path=FOLDER,method=sassn \
        --config.model.weights=FILE.safetensors --workdir=runs/mine

FOLDER holds images/ and labels/, see docs/own-data.md. It is prepared in FOLDER/.sassn, or in
`--config.data_dir`, when the run begins, and again when its files have changed. `labels=1`, the
default, takes all masks. Nobody has tuned this for your images: crops, steps, batch and mean colour
are fitted to them by the rules of `fit`, and `--config.FIELD=VALUE` sets any of them. Images may be
of any sizes, and are scored by windows of `crop_size` (`eval.window`) two thirds of a window apart.

Without `path=`, a folder that was prepared in `--config.data_dir` is trained on with the recipe of
VOC as it is; the steps of `unimatch` are those of VOC's number of images.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import common, voc
from sassn_jax.data import Survey, survey

STEPS = (2000, 20_000)  # at least, for a network to learn anything; and at most, as in the paper
PASSES = 120  # over the images with masks: the paper's number with an eighth of VOC's labels
SMALLEST = 33  # pixels a side


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `path=...,method=...,labels=...,backbone=...`."""
    values = common.parse_argument(argument, method="sassn", labels="1", backbone="", path="")
    path = values.pop("path")
    config = voc.get_config(",".join(f"{name}={value}" for name, value in values.items() if value))
    config.dataset = "folder"
    config.eval.pad_to = ()
    if path:
        folder = Path(path).expanduser().absolute()
        config.source = str(folder.resolve() if ".." in folder.parts else folder)
        if found := survey(path, config.labels):
            fit(config, found)
    config.eval.window = config.get_oneway_ref("crop_size")  # follows it, unless it is set
    return config


def fit(config: ConfigDict, found: Survey) -> None:
    """Fits a recipe to the images: crops, batch, mean colour, and the number of steps."""
    config.crop_size = tuple(
        max(SMALLEST, min(recipe, (image - 1) // 8 * 8 + 1))  # the network divides sides by 8
        for recipe, image in zip(config.crop_size, found.size, strict=True)
    )
    config.batch_size = min(config.batch_size, max(2, found.labeled // 2 * 2))
    config.image.mean = found.mean if config.image.channel_order == "rgb" else found.mean[::-1]
    least, most = STEPS
    share = min(max(PASSES * found.labeled / config.batch_size, least), most) / most
    config.num_steps = round(config.num_steps * share)
    config.loss.semi_start = round(config.loss.semi_start * share)
    config.eval_every = config.checkpoint_every = max(1, config.num_steps // 10)
