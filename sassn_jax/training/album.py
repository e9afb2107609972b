"""The pictures that an evaluation during training writes for TensorBoard."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from sassn_jax.data import Example
from sassn_jax.data.drawing import CONFIDENCE
from sassn_jax.data.skipping import first_readable
from sassn_jax.evaluation import PaddedBatch
from sassn_jax.methods import Batch, TrainState, Variables
from sassn_jax.methods.photometric import to_rgb
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.training.attention_maps import Projections, attention_map, telling_pixel
from sassn_jax.training.pictures import (
    Picture,
    crossed,
    headed_table,
    heat_over,
    iou_bars,
    with_legend,
)
from sassn_jax.training.setup import Setup
from sassn_jax.training.summaries import AnyWriter, picture_row

PICTURED = 4  # images of the validation split, and crops of either kind, that are shown
TRUTH = 1  # its place in a row
HEADINGS = ("input", "truth", "prediction", CONFIDENCE)


class Album:
    """Draws what a network makes of some images, at each evaluation the same ones."""

    def __init__(
        self,
        setup: Setup,
        writer: AnyWriter,
        predict: Callable[[Variables, Array], tuple[Array, Projections]],
    ):
        """Compiles nothing yet.

        Args:
          setup: of the run.
          writer: of the run.
          predict: the method's, see `with_projections`, compiled for each shape.
        """
        self._setup, self._writer, self._predict = setup, writer, predict
        self._confidence = jax.jit(setup.method.confidence)
        self._validation: dict[int, list[Picture]] = {}

    def take(self, state: TrainState, batch: PaddedBatch, probabilities: jax.Array) -> None:
        """Keeps what is shown of a batch of the validation split, as `evaluate` hands it on."""
        for place, index in enumerate(batch.indices):
            if index < PICTURED:
                height, width = batch.label_sizes.images[place]
                example = self._setup.dataset.splits["val"][index]
                one = probabilities[place, :height, :width]
                self._validation[index] = self._row(state, example, one)

    def write(self, step: int, state: TrainState, matrix: ConfusionMatrix, batch: Batch) -> None:
        """Writes all pictures of an evaluation.

        Args:
          step: that has been taken.
          state: after the step.
          matrix: of the validation split.
          batch: that the step was taken with, in NumPy.
        """
        info = self._setup.dataset.info
        self._write_table(step, "validation", list(self._validation.values()))
        self._validation.clear()
        self._writer.picture(step, "pictures/iou", iou_bars(matrix.iou(), info))
        for name, rows in self._crops(state, batch).items():
            self._write_table(step, name, rows)
        if any(name.startswith("attention") for name in state.generator.params):
            self._writer.picture(step, "pictures/attention", self._attended(state))

    def _write_table(self, step: int, name: str, rows: list[list[Picture]]) -> None:
        if not rows:  # none of the images can be read
            return
        info = self._setup.dataset.info
        headings = HEADINGS[: len(rows[0])]
        has_confidence = len(headings) == len(HEADINGS)
        if all((row[TRUTH] == info.mask_palette[info.ignore_label]).all() for row in rows):
            # No mask: unlabelled images often have none.
            headings = (*headings[:TRUTH], *headings[TRUTH + 1 :])
            rows = [[*row[:TRUTH], *row[TRUTH + 1 :]] for row in rows]
        picture = with_legend(headed_table(headings, rows), info, confidence=has_confidence)
        self._writer.picture(step, f"pictures/{name}", picture)

    def _row(self, state: TrainState, example: Example, probabilities: jax.Array) -> list[Picture]:
        """Input, truth, prediction and, where there is a D, its confidence."""
        confidence = self._confidence(state, probabilities[None])
        return picture_row(
            example,
            np.asarray(probabilities.argmax(-1)),
            self._setup.dataset.info,
            None if confidence is None else np.asarray(confidence[0]),
        )

    def _crops(self, state: TrainState, batch: Batch) -> dict[str, list[list[Picture]]]:
        """Rows of training crops, by the kind of their images."""
        rows: dict[str, list[list[Picture]]] = {}
        halves: Any = batch
        crops = [
            (f"training_{kind}", image, label)
            for kind, half in halves.items()
            for image, label in zip(half["image"][:PICTURED], half["label"][:PICTURED], strict=True)
        ]
        images = [image for _, image, _ in crops]
        shown = np.asarray(to_rgb(jax.device_put(np.stack(images)), self._setup.config.image))
        pixels = np.clip(np.round(shown), 0, 255).astype(np.uint8)
        predicted = self._predict_each(state, images)
        for (name, _, label), image, (probabilities, _) in zip(
            crops, pixels, predicted, strict=True
        ):
            example: Example = {"image": image, "label": label, "id": ""}
            rows.setdefault(name, []).append(self._row(state, example, probabilities))
        return rows

    def _predict_each(
        self, state: TrainState, images: Sequence[Float[np.ndarray, "H W 3"]]
    ) -> Iterator[tuple[Array, Projections]]:
        """Predicts normalized images of one size, and yields the prediction of each."""
        variables = self._setup.method.inference_variables(state)
        size = self._setup.config.eval_batch_size  # a shape that windows of this size have too
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.zeros((size, *part[0].shape), part[0].dtype)
            filled[: len(part)] = part
            probabilities, projections = self._predict(variables, jax.device_put(filled))
            projections = jax.device_get(projections)
            for i in range(len(part)):
                yield (
                    probabilities[i],
                    {
                        name: {kind: of_all[i] for kind, of_all in of_one.items()}
                        for name, of_one in projections.items()
                    },
                )

    def _attended(self, state: TrainState) -> Picture:
        """The attention of a pixel of a validation image, as `telling_pixel` chooses it."""
        example = first_readable(self._setup.dataset.splits["val"])
        label = example["label"]
        of_label = telling_pixel(label, self._setup.dataset.info.ignore_label)
        sides = example["image"].shape[:2]
        pixel = [at * side // of for at, side, of in zip(of_label, sides, label.shape, strict=True)]
        # As large as a training crop, for which there is memory; the pixel as central as it can be.
        size = [min(pair) for pair in zip(sides, self._setup.config.crop_size, strict=True)]
        corner = [
            min(max(at - part // 2, 0), side - part)
            for at, part, side in zip(pixel, size, sides, strict=True)
        ]
        image = example["image"][tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))]
        row, column = (at - first for at, first in zip(pixel, corner, strict=True))
        ((_, projections),) = self._predict_each(state, [self._setup.config.image(image)])
        params = self._setup.method.inference_variables(state)["params"]
        headings, pictures = ["input\nthe cross attends to"], [crossed(image, (row, column))]
        for name, of_one in sorted(projections.items()):
            query, key = of_one["query"], of_one["key"]
            at = (row * query.shape[0] // size[0], column * query.shape[1] // size[1])
            heat = attention_map(query, key, *at)
            # In units of the mean weight: attention that has learned nothing is 1 everywhere.
            lowest, highest = heat.min() * heat.size, heat.max() * heat.size
            headings.append(
                f"{name}, alpha {float(params[name]['alpha']):.2g}\n"
                f"grey {lowest:.4g}, red {highest:.4g} x mean"
            )
            pictures.append(heat_over(image, heat, (row, column)))
        return headed_table(headings, [pictures])
