"""What a network says of one image."""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from sassn_jax.data import DatasetInfo
from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.data.drawing import CONFIDENCE, ROWS, draw_legend, draw_scale, heat_map, letters_for
from sassn_jax.data.proposals import proposal_mark
from sassn_jax.errors import InputError, check
from sassn_jax.files import StrPath, expanded, replacing

_NAMED = 3  # classes that a printed prediction names


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a network says of one image.

    Attributes:
      image: uint8 `[H, W, 3]`, the RGB pixels that were predicted, as they are shown.
      ids: uint8 `[H, W]`, the most likely class of each pixel.
      certainty: float32 `[H, W]`, the probability of that class.
      info: names and colours of the classes.
      kept_probabilities: float32 `[H, W, C]`, see `probabilities`; None if they were not kept.
      confidence: float32 `[H, W]`, D's confidence that a person drew these labels, 0 to 1; None if
        it was not asked for.
    """

    image: UInt8[np.ndarray, "H W 3"]
    ids: UInt8[np.ndarray, "H W"]
    certainty: Float32[np.ndarray, "H W"]
    info: DatasetInfo
    kept_probabilities: Float32[np.ndarray, "H W C"] | None = None
    confidence: Float32[np.ndarray, "H W"] | None = None

    def __repr__(self) -> str:
        """Returns one line: the size, and the classes that most pixels have."""
        height, width = self.ids.shape
        counts = np.bincount(self.ids.ravel(), minlength=len(self.classes))
        found = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
        shares = [f"{self.classes[i]} {counts[i] / self.ids.size:.1%}" for i in found[:_NAMED]]
        more = [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
        return (
            f"Prediction({width}x{height} pixels, {len(self.classes)} classes: "
            f"{', '.join([*shares, *more])})"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order of class id."""
        return self.info.class_names

    @property
    def palette(self) -> UInt8[np.ndarray, "C 3"]:
        """The RGB colour of each class."""
        return self.info.palette

    @property
    def probabilities(self) -> Float32[np.ndarray, "H W C"]:
        """The probability of each class in each pixel.

        Raises:
          InputError: if the image is so large that they were not kept, see `Run.predict`.
        """
        if self.kept_probabilities is None:
            height, width = self.ids.shape
            gigabytes = self.ids.size * len(self.classes) * 4 / 2**30
            raise InputError(
                f"probabilities: those of {width}x{height} pixels and {len(self.classes)} classes "
                f"take {gigabytes:.3g} GiB and were not kept; give predict a max_memory of at "
                f"least {4 * gigabytes:.3g}"
            )
        return self.kept_probabilities

    def labels(self, threshold: float = 0.0) -> UInt8[np.ndarray, "H W"]:
        """Returns the ids, with 255 (ignored) in each pixel whose certainty is below `threshold`.

        Raises:
          InputError: if `threshold` is not from 0 to 1.
        """
        check(0 <= threshold <= 1, "threshold", threshold, "a probability, from 0 to 1")
        return np.where(self.certainty >= threshold, self.ids, np.uint8(IGNORE_LABEL))

    def overlay(self, alpha: float = 0.5, *, legend: bool = False) -> Image.Image:
        """Returns the image with the colours of the classes over it.

        Args:
          alpha: share of the colours, from 0 (the image alone) to 1 (the colours alone).
          legend: whether the names of the classes in the image stand below it, with their colours.

        Raises:
          InputError: if `alpha` is not from 0 to 1.
        """
        check(0 <= alpha <= 1, "alpha", alpha, "a share, from 0 to 1")
        ids = np.unique(self.ids).tolist() if legend else []
        height, width = self.ids.shape
        picture = _with_legend((width, height), self.info, ids)
        for top in range(0, height, ROWS):
            rows = slice(top, top + ROWS)
            colors = Image.fromarray(self.palette[self.ids[rows]])
            picture.paste(Image.blend(Image.fromarray(self.image[rows]), colors, alpha), (0, top))
        return picture

    def save(self, path: StrPath, threshold: float = 0.0) -> None:
        """Writes the class ids to a PNG file, with the colours of the classes as its palette.

        The pixels of the file are the ids themselves. A folder data set reads them as a mask, which
        the file marks as proposed by a network: it is trained on, but not taken for validation.

        Args:
          path: of the file, which appears whole or not at all.
          threshold: see `labels`.

        Raises:
          InputError: if `path` does not end in .png, or `threshold` is not from 0 to 1.
          OSError: naming the file, where it cannot be written.
        """
        path = expanded(path)
        check(path.suffix == ".png", "path", str(path), "a name that ends in .png")
        image = Image.fromarray(self.labels(threshold))
        # Of 256 colours, so that a pixel takes 8 bits; ignored pixels are white.
        image.putpalette(self.info.mask_palette.tobytes())
        with replacing(path) as beside:
            image.save(beside, format="png", pnginfo=proposal_mark())


def with_scale(confidence: Float32[np.ndarray, "H W"]) -> Image.Image:
    """Returns D's confidence in the colours of `heat_map`, with their scale below it."""
    height, width = confidence.shape
    scale = draw_scale(CONFIDENCE, width, letters_for(width, height))
    picture = _extended((width, height), scale)
    picture.paste(heat_map(confidence))
    return picture


def _with_legend(size: tuple[int, int], info: DatasetInfo, ids: list[int]) -> Image.Image:
    """Returns a white picture of this width and height, with a legend of these classes below it."""
    if not ids:
        return Image.new("RGB", size, "white")
    entries = [(info.class_names[i], tuple(info.palette[i].tolist())) for i in ids]
    return _extended(size, draw_legend(entries, size[0], letters_for(*size)))


def _extended(size: tuple[int, int], below: UInt8[np.ndarray, "_ W 3"]) -> Image.Image:
    """Returns a white picture of this width and height, with another one below it."""
    whole = Image.new("RGB", (size[0], size[1] + len(below)), "white")
    whole.paste(Image.fromarray(below), (0, size[1]))
    return whole
