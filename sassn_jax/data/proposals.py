"""Masks that a network proposed: how their files say so, and what the user is told of them."""

from collections.abc import Collection, Mapping
from pathlib import Path

from PIL import PngImagePlugin

from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.images import opened

# A text in the PNG file, of which Pillow reads what stands before the pixels.
_KEY, _VALUE = "Source", "sassn_jax prediction"


def proposal_mark() -> PngImagePlugin.PngInfo:
    """Returns the text that marks a mask as predicted, for Pillow's `save(..., pnginfo=...)`."""
    text = PngImagePlugin.PngInfo()
    text.add_text(_KEY, _VALUE)
    return text


def is_proposed(path: Path) -> bool:
    """Whether a file is a PNG with the mark of `proposal_mark`. Reads the file's beginning only."""
    try:
        with path.open("rb") as file, opened(file, ("PNG",)) as image:
            return bool(image.info.get(_KEY) == _VALUE)
    except Exception:  # Pillow reports damage by many types of errors; `read_label` names the file
        return False


def proposal_notes(
    splits: Mapping[str, Collection[str]], proposed: Collection[str]
) -> tuple[str, ...]:
    """Returns one line for each split that has proposed masks.

    Args:
      splits: ids of the images of each split.
      proposed: ids of the images whose masks a network proposed.
    """
    notes = []
    for split, ids in splits.items():
        number = len(set(ids).intersection(proposed))
        if not number or split == UNLABELED:
            continue
        if split == "train":
            notes.append(
                f"{number} of {len(ids)} training masks were proposed by a network (sassn predict);"
                " they are only trained on, unless val.txt or test.txt names them"
            )
        else:
            notes.append(
                f"{split}.txt names {number} masks, of {len(ids)}, that were proposed by a network "
                "(sassn predict): scores on them compare one network with another; correct these "
                f"masks, or take them out of {split}.txt"
            )
    return tuple(notes)
