"""Predicting images of any size, one after the other, in limited memory."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.data.transforms import pad
from sassn_jax.errors import InputError, check
from sassn_jax.inference import (
    Band,
    Inference,
    Predict,
    Sizes,
    most_likely,
    predict_images,
    row_bands,
)
from sassn_jax.models.discriminator import MINIMUM_SIZE
from sassn_jax.prediction.result import Prediction
from sassn_jax.programs import jit_by_shape

MAX_MEMORY = 4.0  # GiB
# What a ResNet-101's pass takes for each pixel that it sees, by XLA's own analysis of memory (630
# bytes at 321x321 on a CPU); other networks take less.
_NETWORK_BYTES = 700
_DISCRIMINATOR_BYTES = 110  # the same of D, without the probabilities, of which it gets a copy
_IMAGE_BYTES = 48  # for each pixel: the normalized image, padded, and its copies

Image = UInt8[np.ndarray, "H W 3"]
Part = tuple[Band, jax.Array, jax.Array, jax.Array | None]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network, and how images are shown to it.

    Attributes:
      predict: class probabilities from variables and normalized images, compiled by shape.
      variables: passed on to `predict`.
      info: of the classes.
      normalize: applied to each image.
      inference: how an image is shown.
      window: height and width of the windows for images that are too large to be shown at once,
        where `inference` has no windows.
      batch_size: images, or windows, in a call of `predict`.
      max_memory: what the prediction of images may take, in GiB, about.
      probabilities: whether an image is refused whose class probabilities cannot be kept.
      confidence: D's confidence in probabilities `[1, H, W, C]`, as `[1, H, W]`; None: not wanted.
    """

    predict: Predict
    variables: Any
    info: DatasetInfo
    normalize: Normalize
    inference: Inference
    window: tuple[int, int]
    batch_size: int
    max_memory: float = MAX_MEMORY
    probabilities: bool = False
    confidence: Callable[[Float[Array, "1 H W C"]], Float[Array, "1 H W"]] | None = None

    def __post_init__(self) -> None:
        value = self.max_memory
        check(0 < value < math.inf, "max_memory", value, "a number of GiB above 0")

    def stream(self, images: Iterable[Image]) -> Iterator[Prediction]:
        """Predicts images in their order. At most two batches are in memory.

        A batch holds images that follow each other and share a canvas. The next one is read while
        the device predicts the one before, unless that is an image in several bands: it takes the
        memory by itself.

        Raises:
          InputError: see `check`.
        """
        results: Iterator[Prediction] = iter(())
        for batch in self._batches(images):
            is_large = self._is_large(batch[0])
            if is_large:
                yield from results
            started = self._start(batch)
            del batch  # or it would stay here while the next one is read
            yield from started if is_large else results
            results = iter(()) if is_large else started
        yield from results

    def check(self, image: Image) -> None:
        """Checks that an image can be predicted.

        Raises:
          InputError: if it takes more memory than is allowed, which can be at other scales than 1,
            with class probabilities or with D's confidence; or if it is too small for D.
        """
        inference = self._showing(image)
        height, width = image.shape[:2]
        if inference.scales != (1.0,) and self._is_large(image):
            raise InputError(
                f"eval.scales={inference.scales}: an image of {width}x{height} pixels takes more "
                f"than max_memory={self.max_memory} (GiB) at these scales; allow more memory, or "
                "take (1.0,)"
            )
        if self.confidence is not None and min(height, width) < MINIMUM_SIZE:
            raise InputError(
                f"confidence: an image of {width}x{height} pixels; expected at least "
                f"{MINIMUM_SIZE} a side, or the discriminator has no output"
            )
        a_pixel = 4 * self.info.num_classes
        needed = {}  # bytes for each pixel
        if self.probabilities:
            needed["probabilities"] = 4 * a_pixel  # a quarter of the memory
        if self.confidence is not None:
            needed["confidence"] = max(4 * a_pixel, 2 * a_pixel + _DISCRIMINATOR_BYTES)
        for name, size in needed.items():
            gigabytes = height * width * size / 2**30
            if gigabytes > self.max_memory:
                raise InputError(
                    f"max_memory={self.max_memory}: too little for the {name} of an image of "
                    f"{width}x{height} pixels; expected at least {math.ceil(10 * gigabytes) / 10}"
                )

    @property
    def _bytes(self) -> float:
        return self.max_memory * 2**30

    def _batches(self, images: Iterable[Image]) -> Iterator[list[Image]]:
        waiting: list[Image] = []
        for image in images:
            self.check(image)
            canvases = {self.inference.canvas(x.shape[:2]) for x in (image, *waiting[:1])}
            if len(canvases) > 1:
                yield waiting
                waiting = []
            waiting.append(image)
            if len(waiting) == self._batch_size(image):
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _batch_size(self, image: Image) -> int:
        """Returns how many images of this size are predicted at once."""
        if self.inference.window:
            return 1
        kept = math.prod(self.inference.canvas(image.shape[:2])) * self.info.num_classes * 4
        most = min(self._bytes / 2 / self._whole_bytes(image), self._bytes / 4 / kept)
        return min(self.batch_size, max(1, int(most)))

    def _whole_bytes(self, image: Image) -> float:
        """Returns what a network takes to see an image at once."""
        height, width = self.inference.canvas(image.shape[:2])
        return height * width * max(self.inference.scales) ** 2 * _NETWORK_BYTES

    def _showing(self, image: Image) -> Inference:
        """Returns how an image is shown: by windows if it is too large to be shown at once."""
        if self.inference.window or self._whole_bytes(image) <= self._bytes:
            return self.inference
        stride = tuple(-(-2 * side // 3) for side in self.window)
        return dataclasses.replace(self.inference, window=self.window, stride=stride)

    def _start(self, images: list[Image]) -> Iterator[Prediction]:
        """Hands a batch to the device; the iterator waits for the results."""
        inference = self._showing(images[0])
        bands = self._bands(images[0], inference)
        if len(bands) > 1 and inference.pad_to:  # a band is lower than the image, but as wide
            inference = dataclasses.replace(inference, pad_to=(1, inference.pad_to[1]))
        keep = self._keeps(images)
        parts = (self._predict_band(images, inference, band, keep) for band in bands)
        first = next(parts)
        return self._finish(images, keep, itertools.chain([first], parts))

    def _keeps(self, images: list[Image]) -> bool:
        """Returns whether the class probabilities of images are kept."""
        pixels = sum(image.shape[0] * image.shape[1] for image in images)
        return pixels * self.info.num_classes * 4 <= self._bytes / 4

    def _is_large(self, image: Image) -> bool:
        """Returns whether an image is predicted in several bands of rows."""
        return len(self._bands(image, self._showing(image))) > 1

    def _bands(self, image: Image, inference: Inference) -> list[Band]:
        height, width = image.shape[:2]
        whole = [Band(0, height, 0, height)]
        if not inference.window:
            return whole
        views = len(inference.scales) * (1 + inference.mirror)
        copies = 2 if views == 1 else 6
        padded, across = inference.padded((height, width))
        a_pixel = 4 * self.info.num_classes * copies + _IMAGE_BYTES
        rows = int(self._bytes / 2 / (max(across, inference.window[1]) * a_pixel))
        if rows >= height or padded > height or inference.window[0] >= height:
            return whole
        return row_bands(height, inference, rows)

    def _predict_band(
        self, images: list[Image], inference: Inference, band: Band, keep: bool
    ) -> Part:
        rows = [self.normalize(image[band.top : band.bottom]) for image in images]
        canvas = inference.canvas(rows[0].shape[:2])
        sizes = Sizes(canvas, tuple(x.shape[:2] for x in rows))
        window = math.prod(inference.window) * _NETWORK_BYTES
        probabilities = predict_images(
            self.predict,
            self.variables,
            jax.device_put(np.stack([pad(x, canvas, 0.0) for x in rows])),
            sizes,
            sizes,
            inference,
            batch_size=min(self.batch_size, max(1, int(self._bytes / 2 / window))),
        )
        results = most_likely(probabilities), _largest(probabilities)
        return band, *results, probabilities if keep else None

    def _finish(
        self, images: list[Image], keep: bool, parts: Iterable[Part]
    ) -> Iterator[Prediction]:
        shapes = [image.shape[:2] for image in images]
        ids = [np.zeros(shape, np.uint8) for shape in shapes]
        certainty = [np.zeros(shape, np.float32) for shape in shapes]
        depth = self.info.num_classes if keep else 0
        probabilities = [np.zeros((*shape, depth), np.float32) for shape in shapes]
        wholes: list[list[np.ndarray]] = [ids, certainty, probabilities]
        for band, *arrays in parts:
            for whole, part in zip(wholes, arrays, strict=True):
                if part is not None:
                    for place, values in zip(whole, np.asarray(part), strict=True):
                        rows = place[band.first : band.last]
                        start = band.first - band.top
                        rows[...] = values[start : start + len(rows), : rows.shape[1]]
            del arrays, part, values  # of the device, before the next band is predicted
        for i, image in enumerate(images):
            result = Prediction(
                image, ids[i], certainty[i], self.info, probabilities[i] if keep else None
            )
            yield self._with_confidence(result)

    def _with_confidence(self, result: Prediction) -> Prediction:
        if self.confidence is None:
            return result
        confidence = self.confidence(jax.device_put(result.probabilities[None]))
        return dataclasses.replace(result, confidence=np.asarray(confidence)[0])


@jit_by_shape
def _largest(probabilities: Float[Array, "B h w C"]) -> Float[Array, "B h w"]:
    return jnp.max(probabilities, axis=-1)
