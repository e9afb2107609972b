"""What the files of a dataset may do: how large an image may be, and where links may lead."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sassn_jax.errors import InputError
from sassn_jax.fields import Checked, Rule, Switch, whole_numbers

PILLOWS = 178_956_970  # the most pixels that Pillow reads: twice its `MAX_IMAGE_PIXELS`


@dataclass(frozen=True)
class FileLimits(Checked):
    """Limits on the files of a dataset, which may be from strangers.

    Attributes:
      max_pixels: the most pixels, width times height, that an image, a mask or a frame of a video
        may have. The header of a file is judged before memory is taken for the pixels.
      follow_links: whether links in a folder of images and masks may lead out of it. The folder
        itself may always be a link.
    """

    max_pixels: Annotated[
        int,
        Rule(
            lambda x: whole_numbers([x], 1) and x <= PILLOWS,
            f"a whole number from 1 to {PILLOWS}, more than which Pillow does not read",
        ),
    ] = 2**27
    follow_links: Switch = False

    def check_links(self, root: Path, paths: Iterable[Path]) -> None:
        """Checks that no file of a folder is reached by a link that leads out of the folder.

        Args:
          root: the folder.
          paths: files and folders in it.

        Raises:
          InputError: names the first that is, and where it leads.
        """
        if self.follow_links:
            return
        inside, folders = Path(os.path.realpath(root)), dict[Path, Path]()
        for path in paths:
            if path.parent not in folders:
                folders[path.parent] = Path(os.path.realpath(path.parent))
            target = folders[path.parent] / path.name
            if path.is_symlink():
                target = Path(os.path.realpath(path))
            if not target.is_relative_to(inside):
                raise InputError(
                    f"{path}: leads out of {root}, to {target}; copy it there, or allow such links "
                    "by files.follow_links=True in the config, --follow_links of sassn prepare"
                )


LIMITS = FileLimits()


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Checks the size of an image, see `FileLimits`.

    Raises:
      InputError: naming the size and the field that allows more.
    """
    if width * height > max_pixels:
        raise InputError(
            f"{width}x{height} pixels are more than files.max_pixels={max_pixels}; make it "
            "smaller, or set files.max_pixels higher"
        )
