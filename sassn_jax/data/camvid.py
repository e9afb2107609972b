"""CamVid: street scenes (Brostow et al. 2009), from a folder as `folder.py` describes it."""

import os
from collections.abc import Callable

from sassn_jax.data import records
from sassn_jax.data.dataset import Dataset
from sassn_jax.data.folder import read_layout, with_foreground

# The colours of the 11 classes, as the SegNet tutorial shows them.
COLORS = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}


def prepare(
    source: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Writes a folder of images and masks under `data_dir`, as `records.prepare` does."""
    layout = read_layout(source, tested=True)
    if not records.is_prepared("camvid", data_dir):
        layout = with_foreground(layout, progress)
    return records.prepare("camvid", layout, data_dir, progress, layout.notes)


def load(data_dir: str | os.PathLike[str] | None) -> Dataset:
    """The dataset that `prepare` wrote; InputError where there is none."""
    return records.load("camvid", data_dir, COLORS)
