"""Prepares a dataset once, so that training can read it.

python -m experiments.prepare --dataset=camvid --source=FOLDER --data_dir=FOLDER
"""

import functools
from collections.abc import Callable
from pathlib import Path

from absl import flags

from experiments import command
from sassn_jax import data
from sassn_jax.data import camvid, cityscapes, folder, voc2012_aug
from sassn_jax.errors import InputError

_PREPARE: dict[str, Callable[[str, str, Callable[[int, int], None]], bool]] = {
    "camvid": camvid.prepare,
    folder.NAME: folder.prepare,
    "voc2012_aug": voc2012_aug.prepare,
    **{name: functools.partial(cityscapes.prepare, name=name) for name in cityscapes.VARIANTS},
}

_DATASET = flags.DEFINE_string("dataset", None, f"One of {', '.join(_PREPARE)}.")
_SOURCE = command.define_path(
    "source", None, "Folder of the dataset as it comes; docs/datasets.md says what it must hold."
)
_DATA_DIR = command.define_path("data_dir", None, "Folder for prepared datasets.")


def main() -> None:
    """Prepares the dataset that the flags name, and says what it holds."""
    name, source, data_dir = (command.required(flag) for flag in (_DATASET, _SOURCE, _DATA_DIR))
    if name not in _PREPARE:
        raise InputError(
            f"--dataset={name}: expected one of {', '.join(_PREPARE)} (scenes needs no preparation)"
        )
    with command.progress(f"preparing {name}") as show:
        wrote = _PREPARE[name](source, data_dir, show)
    dataset = data.load(name, data_dir)
    counts = ", ".join(f"{len(images)} {split}" for split, images in dataset.splits.items())
    old = Path(data_dir) / name
    what = "prepared" if wrote else f"had been prepared already (remove {old} to do so again):"
    print(
        f"{data_dir}: {what} {dataset.info.name}, {dataset.info.num_classes} classes, "
        f"images: {counts}"
    )


if __name__ == "__main__":
    command.run(main, "run it again, and what it had checked is not checked again")
