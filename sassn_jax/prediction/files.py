"""Predicting files of photos, and going on where that was stopped."""

import collections
import dataclasses
import glob
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.annotations import find_annotated
from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.data.folder_files import (
    IMAGE_SUFFIXES,
    files_below,
    find_masks,
    id_of,
    is_other_photo,
    relative,
)
from sassn_jax.data.lists import name_several
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded, write_json
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


def find_files(
    source: StrPath, output: StrPath, on_note: Callable[[str], None] = lambda note: None
) -> list[tuple[Path, Path]]:
    """Returns the photos and videos of `source`, sorted, each with its relative path.

    Args:
      source: a file; a folder, with all folders in it; or a pattern, such as `photos/**/*.jpg`.
      output: the folder for the results; files that are in it already are left out.
      on_note: called with a line if `source` has photos of a kind that is not read.

    Raises:
      InputError: if there is no such file, or `output` is the folder of the photos.
    """
    start, output = expanded(source), expanded(output).resolve()
    if start.is_file():
        found, start = [start], start.parent
    elif start.is_dir():
        found = sorted(filter(Path.is_file, files_below(start)))  # as a folder data set finds them
    else:
        found = [Path(path) for path in sorted(glob.glob(str(start), recursive=True))]
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), start.parts[:-1])
        start = Path(*plain)
    if start.resolve() == output:
        raise InputError(
            f"output={str(output)!r}: the folder of the photos; expected another one, such as "
            f"{str(output.parent / 'predicted')!r}"
        )
    is_below = start.resolve() in output.parents
    if unread := [relative(start, path) for path in found if is_other_photo(path)]:
        on_note(
            f"{start}: {min(unread)} is not read{name_several(unread)}; convert it to "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    known = (*IMAGE_SUFFIXES, *VIDEOS)
    files = [
        (path, path.relative_to(start))
        for path in found
        if path.suffix.lower() in known
        and not path.name.startswith(".")
        and not (is_below and output in _place(path).parents)
    ]
    if not files:
        raise InputError(
            f"input={str(source)!r}: no photo or video there; expected a file, a folder or a "
            f"pattern of files that end in {', '.join(known)}"
        )
    return files


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
    finished = len(files) - len(todo)
    waiting: collections.deque[tuple[Path, Path]] = collections.deque()
    is_video = [path.suffix.lower() in VIDEOS for path, _ in todo]

    def read() -> Iterator[np.ndarray]:
        for (path, name), skip in zip(todo, is_video, strict=True):
            if skip:
                continue
            try:
                image = as_rgb(path)
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
                frames = predict_video(predictor, path, target)
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
            former = dict(json.loads(path.read_text(encoding="utf-8")))
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
    photos = {_place(path) for path, _ in files}
    present, masked = frozenset[Path](), frozenset[Path]()
    if outputs.as_labels:
        present = _with_masks({path: (output, _id(name)) for path, name in files})
        masked = _with_masks(dict(filter(None, (_in_data_set(path) for path, _ in files))))
    claimed: dict[Path, Path] = {}
    todo = []
    for path, name in files:
        if outputs.as_labels and path.suffix.lower() in VIDEOS:
            outcome.failed.append(f"{path}: a video gives no masks; take pictures out of it")
            continue
        results = outputs.paths(output, name)
        if replaced := next((x for x in results if _place(x) in photos), None):
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


def _in_data_set(path: Path) -> tuple[Path, tuple[Path, str]] | None:
    """Returns a photo, with the folder of masks of its data set and its id there.

    A data set is a folder with images/ and labels/. None for a photo in no such folder.
    """
    absolute = path.absolute()
    for folder in absolute.parents:
        labels = folder.parent / "labels"
        if folder.name == "images" and labels.is_dir():
            return path, (labels, _id(absolute.relative_to(folder)))
    return None


def _with_masks(places: Mapping[Path, tuple[Path, str]]) -> frozenset[Path]:
    """Returns the photos that have a mask or annotations.

    Args:
      places: by photo, the folder where its mask would be, and its id there.
    """
    found = set[Path]()
    for folder in {folder for folder, _ in places.values()}:
        ids = {path: id_ for path, (its_folder, id_) in places.items() if its_folder == folder}
        masked = find_annotated(folder, ids.values()).union(find_masks(folder, ids.values(), []))
        found.update(path for path, id_ in ids.items() if id_ in masked)
    return frozenset(found)


def _id(name: Path) -> str:
    return id_of(Path(), name)


def _place(path: Path) -> Path:
    """Returns where a file lies, which can itself be a link, whatever links lead there."""
    return path.parent.resolve() / path.name


def _count(ids: np.ndarray) -> dict[int, int]:
    """Returns the number of pixels of each class id."""
    # Pillow counts without a copy; NumPy would make one of 8 bytes a pixel.
    return dict(enumerate(Image.fromarray(ids).histogram()[:IGNORE_LABEL]))
