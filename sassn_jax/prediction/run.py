"""A trained run: load it, predict with it, score it."""

import dataclasses
import functools
import hashlib
import itertools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import jax
import numpy as np

from sassn_jax import data, methods
from sassn_jax.config import Config
from sassn_jax.conversion.exporting import read_export
from sassn_jax.data import Dataset, DatasetInfo, Source
from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError, Notice, UnreadableError
from sassn_jax.evaluation import PaddedBatch, evaluate
from sassn_jax.files import expanded
from sassn_jax.inference import Predict
from sassn_jax.methods import Method, TrainState, Variables
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.prediction.images import Photo, as_rgb
from sassn_jax.prediction.predicting import MAX_MEMORY, Predictor
from sassn_jax.prediction.result import Prediction
from sassn_jax.programs import jit_by_shape
from sassn_jax.recipes import override, parse
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.setup import abstract_state
from sassn_jax.training.workdir import Workdir

# Fields of a loaded run: the device may be another one.
ELSEWHERE = {"model.attention_implementation": ""}


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, from its workdir or from an exported file.

    Attributes:
      config: of the run.
      info: the classes of the dataset that it was trained on.
      method: of the run.
      variables: what the method predicts with.
      step: the number of steps that they were trained for.
      state: the whole state at the checkpoint; None for an exported file.
      saved: the UTC time of the checkpoint, as `2026-11-30T12:00:00+00:00`; empty for such a file.
      overrides: the fields of `config` that were given other values when it was loaded.
    """

    config: Config
    info: DatasetInfo
    method: Method
    variables: Variables
    step: int
    state: TrainState | None = None
    saved: str = ""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A checksum of `variables`: the same for a run and for its exported file."""
        digest = hashlib.sha256()
        for path, array in jax.tree.leaves_with_path(jax.device_get(self.variables)):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.asarray(array).tobytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The dataset that the config names, read when it is first asked for.

        Raises:
          InputError: if it has not been prepared, or its classes are not those of the network.
        """
        dataset = data.load(
            self.config.dataset, self.config.data_dir, self.config.source, self.config.files
        )
        theirs, ours = dataset.info.class_names, self.info.class_names
        if theirs != ours:
            differing = next(
                f"class {i} is {a or 'absent'} in it and {b or 'absent'} in the network"
                for i, (a, b) in enumerate(itertools.zip_longest(theirs, ours))
                if a != b
            )
            raise InputError(
                f"dataset={self.config.dataset!r}: expected the classes that the network was "
                f"trained on, which are those of {self.info.name} ({differing})"
            )
        return dataset

    @overload
    def predict(
        self, image: Photo, *, max_memory: float = MAX_MEMORY, confidence: bool = False
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        image: list[Photo] | tuple[Photo, ...],
        *,
        max_memory: float = MAX_MEMORY,
        confidence: bool = False,
    ) -> list[Prediction]: ...

    def predict(
        self,
        image: Photo | list[Photo] | tuple[Photo, ...],
        *,
        max_memory: float = MAX_MEMORY,
        confidence: bool = False,
    ) -> Prediction | list[Prediction]:
        """Returns the class of each pixel of an image, or of each of a list of images.

        An image is shown to the network as `config.eval` says, as in scoring. If it is too large to
        be shown at once, it is predicted by windows of the crop size.

        Args:
          image: the path of an image file; a PIL image; or uint8 `[H, W, 3]` (RGB), `[H, W]` (grey)
            or `[H, W, 4]` (RGBA; transparent pixels are shown on white). A list of them gives a
            list of results; images of the same size that follow each other go to the network in
            one batch.
          max_memory: what the prediction may take, in GiB, about. A larger image is predicted in
            bands of rows, with the same result. All class probabilities of an image are kept if
            they take at most a quarter of it.
          confidence: whether the result has D's confidence.

        Raises:
          InputError: if an image is something else, cannot be read, or is a file of more pixels
            than `config.files.max_pixels`; if D's confidence is wanted but this is an exported file
            or a method without D.
        """
        predictor = self.predictor(max_memory=max_memory, confidence=confidence)
        most = self.config.files.max_pixels
        if isinstance(image, list | tuple):
            return list(predictor.stream(as_rgb(one, most) for one in image))
        return next(predictor.stream([as_rgb(image, most)]))

    def score(
        self,
        source: Source,
        on_batch: Callable[[PaddedBatch, jax.Array], None],
        on_unreadable: Callable[[int, UnreadableError], object] | None = None,
    ) -> ConfusionMatrix:
        """Returns the pixels of a split of the dataset by class of label and prediction.

        Args:
          source: the split, or a part of it.
          on_batch: see `evaluation.evaluate`.
          on_unreadable: see there.
        """
        return evaluate(
            self._predict,
            self.variables,
            source,
            self.dataset.info,
            normalize=self.config.image,
            batch_size=self.config.eval_batch_size,
            inference=self.config.eval,
            on_batch=on_batch,
            on_unreadable=on_unreadable,
        )

    def predictor(
        self,
        *,
        max_memory: float = MAX_MEMORY,
        probabilities: bool = False,
        confidence: bool = False,
    ) -> Predictor:
        """Returns what predicts any number of images one after the other; raises as `predict`.

        With `probabilities` it refuses an image whose class probabilities cannot be kept.
        """
        return Predictor(
            self._predict,
            self.variables,
            self.info,
            self.config.image,
            self.config.eval,
            self.config.crop_size,
            self.config.eval_batch_size,
            max_memory,
            probabilities,
            self._confidence() if confidence else None,
        )

    def _confidence(self) -> Callable[[jax.Array], jax.Array]:
        if self.state is None:
            raise InputError(
                "confidence: an exported file holds no discriminator; load the run's workdir"
            )
        if type(self.method).confidence is Method.confidence:
            raise InputError(
                f"confidence: method={self.config.method!r} has no discriminator that judges masks"
            )
        return functools.partial(self._judge, self.state)

    @functools.cached_property
    def _judge(self) -> Callable[..., Any]:
        """D's confidence from a state and probabilities, compiled once for each size of image."""
        return jit_by_shape(self.method.confidence)

    @functools.cached_property
    def _predict(self) -> Predict:
        """The method's `predict`, compiled once for each size of image."""
        return jit_by_shape(self.method.predict)


def load_run(
    workdir: str | Path,
    checkpoint: str = "latest",
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Run:
    """Rebuilds a run from its workdir, or from an exported file.

    Args:
      workdir: of the run, or the file.
      checkpoint: `latest`, or `best` by mIoU on the validation split, which no file has.
      overrides: other values of fields of its config, by dotted name.

    Raises:
      InputError: if the workdir holds no run, or one without such a checkpoint; if the file is not
        an exported one; if a value is wrong.
    """
    check_platform()
    workdir = expanded(workdir)
    if workdir.is_file():
        if checkpoint != "latest":
            raise InputError(f"{checkpoint=}: {workdir} holds one network; leave this out")
        return _load_exported(workdir, overrides)
    folder = Workdir(workdir)
    trained = folder.read_config()
    info = folder.read_classes(trained.dataset)
    config = override(trained, {**ELSEWHERE, **overrides, "model.weights": ""})
    method = methods.create(config, info.num_classes, info.ignore_label)
    with Checkpoints(folder, read_only=True) as checkpoints:
        steps = {"latest": checkpoints.latest_step, "best": checkpoints.best_step}
        if checkpoint not in steps:
            raise InputError(f"checkpoint={checkpoint!r}: expected one of {', '.join(steps)}")
        untrained = InputError(f"{workdir}: no checkpoint yet; train it first")
        if steps[checkpoint] is None:
            raise untrained
        state = _restore(checkpoints, checkpoint, abstract_state(method, config))
        step = int(state.step)
        if step == 0:  # nothing has been learned
            raise untrained
        saved = checkpoints.record(step).saved
    variables = method.inference_variables(state)
    return Run(config, info, method, variables, step, state, saved, overrides)


def _restore(checkpoints: Checkpoints, checkpoint: str, state: TrainState) -> TrainState:
    """Restores the best checkpoint, or the latest one that is whole."""
    if checkpoint == "latest":
        return checkpoints.restore_latest(state, None, lambda line: warnings.warn(line, Notice, 4))
    best = checkpoints.best_step
    assert best is not None
    try:
        return checkpoints.restore(state, best)
    except UnreadableError as error:
        raise InputError(f"{error}; take the latest checkpoint") from error


def _load_exported(path: Path, overrides: Mapping[str, Any]) -> Run:
    variables, fields, info, step = read_export(path)
    try:
        trained = parse(fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    config = override(trained, {**ELSEWHERE, **overrides, "model.weights": ""})
    method = methods.create(config, info.num_classes, info.ignore_label)
    wanted = method.inference_variables(abstract_state(method, config))
    if jax.tree.map(np.shape, wanted) != jax.tree.map(np.shape, variables):
        raise InputError(f"{path}: its arrays are not those of the network in its config")
    return Run(config, info, method, jax.device_put(variables), step, overrides=overrides)
