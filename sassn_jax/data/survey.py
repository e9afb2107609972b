"""How many images a folder holds, and of what size and colour: what a recipe is fitted to."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sassn_jax.data import folder
from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.images import PHOTO_FORMATS, opened, photo_pixels
from sassn_jax.data.limits import FileLimits
from sassn_jax.data.splits import choose_labeled
from sassn_jax.data.validation import number_of_validation_images
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath

SAMPLE = 64  # images that are opened


class Survey(NamedTuple):
    """The training images of a folder.

    Attributes:
      labeled: number of images whose masks are used; about, if the images that are kept for
        validation have not been chosen yet.
      size: the median height and the median width, as the images are shown, in pixels.
      mean: the mean colour, RGB, 0-255.
    """

    labeled: int
    size: tuple[int, int]
    mean: tuple[float, float, float]


def survey(root: StrPath, labels: str = "1") -> Survey | None:
    """Looks at a folder of images and masks; at the pixels of some evenly spaced images only.

    Args:
      root: the folder, as `folder.read_layout` describes it.
      labels: which masks are used, see `choose_labeled`.

    Returns:
      What it found; None if something is wrong in the folder, which `prepare` will report.
    """
    try:
        # `prepare` refuses links that lead out, unless the config allows them.
        layout = folder.read_layout(root, FileLimits(follow_links=True))
    except InputError:
        return None
    train = layout.splits["train"]
    ids = (*train, *layout.splits.get(UNLABELED, ()))
    chosen = np.unique(np.linspace(0, len(ids) - 1, SAMPLE).astype(int))
    sizes, means = _look([layout.images[ids[i]] for i in chosen])
    if not sizes:
        return None
    height, width = (int(side) for side in np.median(sizes, axis=0))
    red, green, blue = (round(float(value), 1) for value in np.mean(means, axis=0))
    drawn = len(set(train) - layout.proposed)
    kept = 0 if "val" in layout.splits else number_of_validation_images(drawn)
    labeled = len(choose_labeled(train, labels, seed=0).labeled) * (len(train) - kept) // len(train)
    return Survey(max(1, labeled), (height, width), (red, green, blue))


def _look(paths: Sequence[Path]) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
    """Returns height and width, and the mean colour, of each image that can be read."""
    sizes, means = [], []
    for path in paths:
        try:
            with path.open("rb") as file, opened(file, PHOTO_FORMATS) as image:
                short, long = sorted(image.size)
                image.draft("RGB", (64, 64))  # a JPEG need not be decoded at its full size
                pixels = photo_pixels(image)
        except Exception:  # Pillow reports damage by many types of errors; `prepare` names the file
            continue
        is_tall = pixels.shape[0] > pixels.shape[1]
        sizes.append((long, short) if is_tall else (short, long))
        means.append(pixels.mean((0, 1)))
    return sizes, means
