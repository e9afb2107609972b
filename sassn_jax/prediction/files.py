"""Predicting files of photos, and going on where that was stopped."""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.data.folder_files import id_of
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded, read_json, write_json
from sassn_jax.prediction.finding import in_data_set, location, with_masks
from sassn_jax.prediction.images import as_rgb
from sassn_jax.prediction.outputs import IDS_ALONE, Outputs
from sassn_jax.prediction.predicting import MAX_MEMORY
from sassn_jax.prediction.run import Run
from sassn_jax.prediction.video import VIDEOS, predict_video

SETTINGS = "predict.json"  # what the results in a folder depend on, beside them


@dataclasses.dataclass
class Outcome:
    """What became of some files.

    Attributes:
      predicted: number of photos, and of frames of videos.
      frames: number of the frames of videos alone.
      skipped: number of files whose results were there.
      masked: number of files that got no mask, since the data set to which they belong has one.
      failed: one line for each file that could not be predicted.
      pixels: with a threshold, the number of pixels of the predicted photos by most likely class.
      sure: the same without the pixels that are 255, since no class is probable enough there.
    """

    predicted: int = 0
    frames: int = 0
    skipped: int = 0
    masked: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    pixels: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    sure: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)


def predict_files(
    run: Run,
    files: list[tuple[Path, Path]],
    output: StrPath,
    outputs: Outputs = IDS_ALONE,
    *,
    max_memory: float = MAX_MEMORY,
    on_file: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Outcome:
    """Predicts photos and videos, and writes the results into a folder.

    A file is skipped if its results are there, newer than the file, and predicted with the same
    network, `eval` fields and threshold; `SETTINGS` in the folder tells. With `as_labels` a result
    that is there is always kept. A file that cannot be read is noted, and the rest goes on.

    Args:
      run: the network.
      files: from `find_files`.
      output: the folder, which need not be there.
      outputs: what is written.
      max_memory: see `Run.predict`.
      on_file: called with the number of files done and the number of all files.
      on_note: called with a line if results are predicted anew, since their settings differ.

    Raises:
      InputError: if D's confidence is wanted, but there is no D that judges masks; or if results
        would replace files that this function has not written.
      OSError: naming a file that cannot be written.
    """
    output, outcome = expanded(output), Outcome()
    predictor = run.predictor(
        max_memory=max_memory, probabilities=outputs.probabilities, confidence=outputs.confidence
    )
    begun = 0.0 if outputs.as_labels else _begin(run, files, output, outputs, on_note)
    todo = _choose(files, output, outputs, begun, outcome)
    finished, most = len(files) - len(todo), run.config.files.max_pixels
    waiting: collections.deque[tuple[Path, Path]] = collections.deque()
    is_video = [path.suffix.lower() in VIDEOS for path, _ in todo]

    def read() -> Iterator[np.ndarray]:
        for (path, name), skip in zip(todo, is_video, strict=True):
            if skip:
                continue
            try:
                image = as_rgb(path, most)
                predictor.check(image)
            except InputError as error:
                fail(path, error)
                continue
            waiting.append((path, name))
            yield image
            del image

    def fail(path: Path, error: InputError) -> None:
        text = str(error)
        outcome.failed.append(text if text.startswith(str(path)) else f"{path}: {text}")
        step()

    def step() -> None:
        nonlocal finished
        finished += 1
        on_file(finished, len(files))

    for result in predictor.stream(read()):
        _, name = waiting.popleft()
        outputs.write(output, name, result)
        outcome.predicted += 1
        if outputs.threshold:
            outcome.pixels.update(_count(result.ids))
            outcome.sure.update(_count(result.labels(outputs.threshold)))
        step()
        del result
    for (path, name), chosen in zip(todo, is_video, strict=True):
        if chosen:
            try:
                (target,) = outputs.paths(output, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                frames = predict_video(predictor, path, target, most)
            except InputError as error:
                fail(path, error)
            else:
                outcome.predicted += frames
                outcome.frames += frames
                step()
    return outcome


def _begin(
    run: Run,
    files: list[tuple[Path, Path]],
    output: Path,
    outputs: Outputs,
    on_note: Callable[[str], None],
) -> float:
    """Returns since when all results have had these settings, in seconds since 1970."""
    path = output / SETTINGS
    settings = {
        "network": run.fingerprint,
        "step": run.step,
        "eval": dataclasses.asdict(run.config.eval),
        "threshold": outputs.threshold,
    }
    settings = json.loads(json.dumps(settings))  # tuples are lists in the file
    if path.exists():
        try:
            former = dict(read_json(path))
        except (ValueError, TypeError):
            raise InputError(
                f"{path}: not the settings of a prediction; choose another folder, or remove it"
            ) from None
        differing = [name for name in settings if former.get(name) != settings[name]]
        if differing:
            on_note(
                f"{output}: predicted before with other settings ({', '.join(differing)}); the "
                "files that are chosen now are predicted anew"
            )
    else:
        results = (x for _, name in files for x in outputs.paths(output, name))
        strange = next((x for x in results if x.exists()), None)
        if strange is not None:
            raise InputError(
                f"{strange}: is there without {path}, so another program may have written it; "
                "choose another folder for the results, or remove it"
            )
        differing = [*settings]
    if differing:
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
    return path.stat().st_mtime


def _choose(
    files: list[tuple[Path, Path]],
    output: Path,
    outputs: Outputs,
    begun: float,
    outcome: Outcome,
) -> list[tuple[Path, Path]]:
    """Returns the files that are to be predicted; counts and names all others in `outcome`."""
    photos = {location(path) for path, _ in files}
    present, masked = frozenset[Path](), frozenset[Path]()
    if outputs.as_labels:
        present = with_masks({path: (output, id_of(Path(), name)) for path, name in files})
        masked = with_masks(dict(filter(None, (in_data_set(path) for path, _ in files))))
    claimed: dict[Path, Path] = {}
    todo = []
    for path, name in files:
        if outputs.as_labels and path.suffix.lower() in VIDEOS:
            outcome.failed.append(f"{path}: a video gives no masks; take pictures out of it")
            continue
        results = outputs.paths(output, name)
        if replaced := next((x for x in results if location(x) in photos), None):
            outcome.failed.append(
                f"{path}: its result would replace the photo {replaced}; choose another output"
            )
            continue
        taken = next((claimed[x] for x in results if x in claimed), None)
        if taken is not None:
            outcome.failed.append(
                f"{path}: its results would replace those of {taken}; rename one of the two"
            )
            continue
        claimed.update(dict.fromkeys(results, path))
        if outputs.as_labels:
            is_done = path in present
        else:
            after = max(path.stat().st_mtime, begun)
            is_done = all(x.exists() and x.stat().st_mtime >= after for x in results)
        if is_done:
            outcome.skipped += 1
        elif path in masked:
            outcome.masked += 1
        else:
            todo.append((path, name))
    return todo


def _count(ids: np.ndarray) -> dict[int, int]:
    """Returns the number of pixels of each class id."""
    # Pillow counts without a copy; NumPy would make one of 8 bytes a pixel.
    return dict(enumerate(Image.fromarray(ids).histogram()[:IGNORE_LABEL]))
