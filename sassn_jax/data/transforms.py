"""Transforms of an image and its mask for training. NumPy only, since loader processes run them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float32, Int32, Num, UInt8

from sassn_jax.data.batch import Half
from sassn_jax.data.dataset import IGNORE_LABEL, check_class_ids
from sassn_jax.fields import Checked, Rule, one_of

CHANNEL_ORDERS = ("rgb", "bgr")


@dataclass(frozen=True)
class Normalize(Checked):
    """Orders the channels of an image, subtracts the mean and divides by the standard deviation.

    Attributes:
      channel_order: of the result, `rgb` or `bgr`. `mean` and `std` have the same order.
      mean: per channel, in units of 0-255.
      std: per channel, in units of 0-255.

    Raises:
      InputError: for another `channel_order`, or without three finite numbers, of `std` above 0.
    """

    channel_order: Annotated[str, one_of(CHANNEL_ORDERS)] = "rgb"
    mean: Annotated[
        tuple[float, float, float],
        Rule(lambda x: len(x) == 3 and all(map(math.isfinite, x)), "three numbers"),
    ] = (0.0, 0.0, 0.0)
    std: Annotated[
        tuple[float, float, float],
        Rule(lambda x: len(x) == 3 and all(0 < n < math.inf for n in x), "three numbers above 0"),
    ] = (1.0, 1.0, 1.0)

    def __call__(self, image: Num[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W 3"]:
        """Normalizes an RGB image, 0-255."""
        if self.channel_order == "bgr":
            image = image[..., ::-1]
        centred = image.astype(np.float32) - np.asarray(self.mean, np.float32)
        return centred / np.asarray(self.std, np.float32)


@dataclass(frozen=True)
class TrainTransform:
    """Scales, crops and mirrors an image and its mask at random, and normalizes the image.

    A scaled image that is smaller than the crop is filled up at the bottom and at the right: the
    normalized image with 0 (the mean colour), the mask with the ignore label.

    Attributes:
      crop_size: height and width of the result, in pixels.
      scale: range of the factor that scales the image; the factor is drawn uniformly.
      mirror: whether to mirror left to right with probability 1/2.
      normalize: applied to the image.
      ignore_label: fills up the mask.
      mark_filled: whether to return `valid`.
      num_classes: number of classes that a mask may have. None leaves masks unchecked.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    normalize: Normalize = Normalize()
    ignore_label: int = IGNORE_LABEL
    mark_filled: bool = False
    num_classes: int | None = None

    def __call__(self, example: Mapping[str, Any], rng: np.random.Generator) -> Half[np.ndarray]:
        """Transforms one example of a source, as Grain's `random_map` calls it.

        Args:
          example: `image` uint8 `[H, W, 3]`; perhaps `label` uint8 `[H, W]`, and `id` for messages.
          rng: of this example.

        Returns:
          `image` float32 `[h, w, 3]` and `label` int32 `[h, w]`, which is ignored as a whole if the
          example has no label. With `mark_filled` also `valid` bool `[h, w]`, False in filled
          pixels.

        Raises:
          InputError: if the mask, inside or outside the crop, has an id that is neither a class nor
            the ignore label.
        """
        image, label = example["image"], example.get("label")
        if label is not None and self.num_classes is not None:
            name = f"image {example.get('id')!r}"
            check_class_ids(label, name, self.num_classes, self.ignore_label)
        # Four draws under all settings, so that one setting does not change the others' draws.
        draw_scale, draw_top, draw_left, draw_mirror = rng.random(4)
        low, high = self.scale
        factor = low + (high - low) * draw_scale
        scaled = [max(1, round(size * factor)) for size in image.shape[:2]]
        rows, columns = (
            _sample(size, to, crop, draw)
            for size, to, crop, draw in zip(
                image.shape[:2], scaled, self.crop_size, (draw_top, draw_left), strict=True
            )
        )
        image = self.normalize(_bilinear(image, rows, columns))
        if label is None:
            label = np.full(image.shape[:2], self.ignore_label, np.int32)
        else:
            label = _nearest(label, rows, columns)
        if self.mirror and draw_mirror < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        arrays: Half[np.ndarray] = {
            "image": pad(image, self.crop_size, 0.0),
            "label": pad(label, self.crop_size, self.ignore_label),
        }
        if self.mark_filled:
            arrays["valid"] = pad(np.ones(image.shape[:2], bool), self.crop_size, False)
        return arrays


def _sample(size: int, scaled: int, crop: int, draw: float) -> np.ndarray:
    """Returns where the pixels of a random crop lie in the original image, along one side.

    So only the crop is scaled, not the whole image. The side has `size` pixels, and `scaled` pixels
    after scaling; `draw`, in [0, 1), chooses the start of the crop. Pixel centres are at half
    integers, as in OpenCV's `resize`.
    """
    start = int(draw * (max(0, scaled - crop) + 1))
    pixels = np.arange(start, min(start + crop, scaled))
    return (pixels + 0.5) * (size / scaled) - 0.5


def _bilinear(
    image: UInt8[np.ndarray, "H W 3"], rows: np.ndarray, columns: np.ndarray
) -> Float32[np.ndarray, "h w 3"]:
    def interpolate(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
        positions = np.clip(positions, 0, values.shape[axis] - 1)
        below = positions.astype(np.int64)
        above = np.minimum(below + 1, values.shape[axis] - 1)
        weight = (positions - below).astype(np.float32)
        low = values.take(below, axis).astype(np.float32)
        if not weight.any():
            return low
        weight = np.expand_dims(weight, tuple(i for i in range(values.ndim) if i != axis))
        return low + weight * (values.take(above, axis).astype(np.float32) - low)

    return interpolate(interpolate(image, rows, 0), columns, 1)


def _nearest(
    label: UInt8[np.ndarray, "H W"], rows: np.ndarray, columns: np.ndarray
) -> Int32[np.ndarray, "h w"]:
    # Pixel p reaches from p - 0.5 to p + 0.5.
    rows, columns = (np.floor(positions + 0.5).astype(np.int64) for positions in (rows, columns))
    return label[np.ix_(rows, columns)].astype(np.int32)


def pad(array: np.ndarray, size: tuple[int, int], value: int | float) -> np.ndarray:
    """Fills up an image or mask to `size` with `value`, at the bottom and at the right."""
    if array.shape[:2] == size:
        return np.ascontiguousarray(array)
    padded = np.full((*size, *array.shape[2:]), value, array.dtype)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded
