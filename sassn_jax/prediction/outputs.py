"""What is written of a prediction: ids, overlays, probabilities and confidence."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.errors import InputError, check
from sassn_jax.files import replacing
from sassn_jax.prediction.result import Prediction, heat_map
from sassn_jax.prediction.video import VIDEOS


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is written for each photo into a folder, beside the class ids as `NAME.png`.

    Attributes:
      overlays: `overlays/NAME.png`, the photo with the colours of the classes and a legend.
      probabilities: `probabilities/NAME.npz`, whose array `probabilities` is `[H, W, C]`, float32.
      confidence: `confidence/NAME.png`, D's confidence; blue is 0, white 1/2 and red 1.
      as_labels: the class ids are masks to train from. One that exists is never replaced, since a
        person may have corrected it. A photo in `images/` of a folder data set, which has a mask
        or annotations in the `labels/` beside it, gets none in another folder either.
      threshold: a pixel whose most likely class is less probable is 255 (ignored) in the ids.
    """

    overlays: bool = False
    probabilities: bool = False
    confidence: bool = False
    as_labels: bool = False
    threshold: float = 0.0

    def __post_init__(self) -> None:
        check(0 <= self.threshold <= 1, "threshold", self.threshold, "a probability, from 0 to 1")
        if self.as_labels and (self.overlays or self.probabilities or self.confidence):
            raise InputError(
                "as_labels=True: expected it alone, since other files have no place among masks; "
                "write overlays, probabilities and confidence to another folder"
            )

    def paths(self, output: Path, name: Path) -> list[Path]:
        """Returns the files that are written for a photo of this relative path."""
        if name.suffix.lower() in VIDEOS:
            return [output / name.with_suffix(".mp4")]
        png = name.with_suffix(".png")
        return [
            output / png,
            *([output / "overlays" / png] if self.overlays else []),
            *([output / "probabilities" / name.with_suffix(".npz")] if self.probabilities else []),
            *([output / "confidence" / png] if self.confidence else []),
        ]

    def write(self, output: Path, name: Path, result: Prediction) -> None:
        """Writes them, each whole or not at all.

        Raises:
          OSError: naming the file that cannot be written.
        """
        for path in self.paths(output, name):
            path.parent.mkdir(parents=True, exist_ok=True)
        png = name.with_suffix(".png")
        if self.overlays:
            _save_picture(output / "overlays" / png, result.overlay(legend=True))
        if self.confidence and result.confidence is not None:
            _save_picture(output / "confidence" / png, heat_map(result.confidence))
        if self.probabilities:
            path = output / "probabilities" / name.with_suffix(".npz")
            with replacing(path) as beside, open(beside, "wb") as file:
                np.savez_compressed(file, probabilities=result.probabilities)
        result.save(output / png, self.threshold)


IDS_ALONE = Outputs()


def _save_picture(path: Path, picture: Image.Image) -> None:
    with replacing(path) as beside:
        # Photos hardly shrink at a higher level, which takes six times as long.
        picture.save(beside, format="png", compress_level=3)
