"""The choice of validation images in a folder that has no list of them."""

import collections
import heapq
import math
from collections.abc import Collection, Mapping

from sassn_jax.data.splits import draw

SHARE = 1 / 5  # of the images with masks
MOST = 1 / 3  # where that is needed to show all classes
SEED = 0  # the same for every run, so that their scores can be compared


def number_of_validation_images(images: int) -> int:
    """Returns how many of some images with masks `choose_validation` takes at least."""
    return max(1, math.floor(images * SHARE))


def choose_validation(classes: Mapping[str, Collection[int]]) -> tuple[str, ...]:
    """Chooses a fifth of the images, at least one, so that they show as many classes as they can.

    The image that shows the most classes which no chosen image shows comes first, and so on; images
    that are drawn by a fixed seed make up the number. Where a fifth cannot show all classes, up to
    a third is chosen. A class that a single mask holds stays among the training images, and so does
    an image that shows no class, unless no other is left.

    Args:
      classes: the class ids in the mask of each image.

    Returns:
      The ids of the validation images, sorted. The choice depends on the arguments alone, not on
      their order.

    Raises:
      ValueError: if there are fewer than two images.
    """
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} images: expected at least two")
    shown = {id_: frozenset(ids) for id_, ids in classes.items()}
    left = collections.Counter(class_ for ids in shown.values() for class_ in ids)
    missing = set(left)
    chosen: list[str] = []

    def worth(id_: str) -> tuple[bool, int, bool]:
        own = shown[id_]
        return all(left[class_] > 1 for class_ in own), len(own & missing), bool(own)

    def entry(place: int, id_: str) -> tuple[tuple[int, ...], int, str]:
        return tuple(-x for x in worth(id_)), place, id_  # the best, and first of equals, is least

    # What an image is worth only falls, so one whose entry still holds is the best of all.
    waiting = [entry(*x) for x in enumerate(sorted(classes, key=lambda id_: draw(SEED, id_)))]
    heapq.heapify(waiting)
    least, most = number_of_validation_images(len(classes)), math.floor(len(classes) * MOST)
    while True:
        while (renewed := entry(*waiting[0][1:])) != waiting[0]:
            heapq.heapreplace(waiting, renewed)
        best = waiting[0][2]
        keeps_training, shows_more, _ = worth(best)
        is_needed = keeps_training and shows_more > 0 and len(chosen) < most
        if len(chosen) >= least and not is_needed:
            return tuple(sorted(chosen))
        heapq.heappop(waiting)
        chosen.append(best)
        missing -= shown[best]
        left.subtract(shown[best])
