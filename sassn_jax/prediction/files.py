"""Predicting files of photos, and going on where that was stopped."""

import collections
import dataclasses
import glob
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.annotations import find_annotated
from sassn_jax.data.folder_files import (
    IMAGE_SUFFIXES,
    files_below,
    find_masks,
    id_of,
    is_other_photo,
    relative,
)
from sassn_jax.data.lists import name_several
from sassn_jax.errors import InputError, check
from sassn_jax.files import StrPath, expanded, replacing, write_json
from sassn_jax.prediction.images import as_rgb
from sassn_jax.prediction.predicting import MAX_MEMORY
from sassn_jax.prediction.result import Prediction, heat_map
from sassn_jax.prediction.run import Run
from sassn_jax.prediction.video import VIDEOS, predict_video

SETTINGS = "predict.json"  # what the results in a folder depend on, beside them


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is written for each photo into a folder, beside the class ids as `NAME.png`.

    Attributes:
      overlays: `overlays/NAME.png`, the photo with the colours of the classes and a legend.
      probabilities: `probabilities/NAME.npz`, whose array `probabilities` is `[H, W, C]`, float32.
      confidence: `confidence/NAME.png`, D's confidence; blue is 0, white 1/2 and red 1.
      as_labels: the class ids are masks to train from. One that exists is never replaced, since a
        person may have corrected it.
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


@dataclasses.dataclass
class Outcome:
    """What became of some files.

    Attributes:
      predicted: number of photos, and of frames of videos.
      skipped: number of files whose results were there.
      failed: one line for each file that could not be predicted.
    """

    predicted: int = 0
    skipped: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)


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
    outputs: Outputs = Outputs(),
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
        step()
        del result
    for (path, name), chosen in zip(todo, is_video, strict=True):
        if chosen:
            try:
                (target,) = outputs.paths(output, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                outcome.predicted += predict_video(predictor, path, target)
            except InputError as error:
                fail(path, error)
            else:
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
    masked = frozenset[str]()
    if outputs.as_labels:
        ids = [_id(name) for _, name in files]
        masked = find_annotated(output, ids).union(find_masks(output, ids, []))
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
            is_done = _id(name) in masked
        else:
            after = max(path.stat().st_mtime, begun)
            is_done = all(x.exists() and x.stat().st_mtime >= after for x in results)
        if is_done:
            outcome.skipped += 1
        else:
            todo.append((path, name))
    return todo


def _id(name: Path) -> str:
    return id_of(Path(), name)


def _place(path: Path) -> Path:
    """Returns where a file lies, which can itself be a link, whatever links lead there."""
    return path.parent.resolve() / path.name


def _save_picture(path: Path, picture: Image.Image) -> None:
    with replacing(path) as beside:
        # Photos hardly shrink at a higher level, which takes six times as long.
        picture.save(beside, format="png", compress_level=3)
