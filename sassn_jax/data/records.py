"""Prepared datasets: TFDS writes each once as ArrayRecord files, and every run reads them."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sassn_jax.data.checked_parts import CheckedParts, WrongFilesError
from sassn_jax.data.dataset import UNLABELED, Color, Dataset, DatasetInfo, make_palette
from sassn_jax.data.layout import SOURCE, Layout, Progress, checksum
from sassn_jax.data.limits import FileLimits
from sassn_jax.data.record_source import RecordSource, damaged, open_builder, quiet
from sassn_jax.data.statistics import LabelCounts
from sassn_jax.errors import InputError, check
from sassn_jax.files import StrPath, expanded, occupied


def prepare(
    name: str, layout: Layout, data_dir: StrPath, progress: Progress = lambda done, total: None
) -> bool:
    """Writes the images and masks of a layout as the dataset `name`, see `data.prepare`.

    If the only fault is that some files are damaged, it begins again with `Layout.without` them.

    Until the dataset is complete, checked images are also kept in `data_dir/.NAME_checked`. They
    are removed after errors such as a full disk. If the call is killed or interrupted, all of them
    stay for the next call. If a file is wrong, full parts stay.
    """
    data_dir = expanded(data_dir)
    if _is_prepared(name, data_dir):
        before = read_description(name, data_dir)
        if layout.stamps and before.stamps == layout.stamps:
            return False
        if not layout.stamps and before.source == layout.describe():
            return False
        if not layout.stamps:
            raise InputError(
                f"data_dir={str(data_dir)!r}: holds {name} from a source with other classes, "
                f"images or masks; choose another data_dir, or remove {data_dir / name}"
            )
    is_utf8 = str(data_dir).encode(errors="ignore").decode() == str(data_dir)
    check(is_utf8, "data_dir", str(data_dir), "a name in UTF-8, as ArrayRecord writes no other")
    try:
        _write_layout(name, layout.examined(progress), data_dir, progress)
    except WrongFilesError as error:
        if len(error.unreadable) < len(error.errors):
            raise
        less = layout.without(error.unreadable)
        try:
            less = less.examined(progress)
        except InputError as too_few:  # for these splits; say what is missing
            details = too_few.details or (str(too_few),)
            raise InputError(str(too_few), (*error.lines, *details)) from None
        _write_layout(name, less, data_dir, progress)
    return True


def _write_layout(name: str, layout: Layout, data_dir: Path, progress: Progress) -> None:
    """Writes a layout that has been examined; raises WrongFilesError if files are wrong."""
    total = sum(map(len, layout.splits.values()))
    done = iter(range(1, total + 1))
    # Parts that were checked for other classes, or under other decisions, are not used.
    reading = json.dumps([*layout.class_names, *layout.notes, dict(layout.colors)])
    parts = CheckedParts(data_dir / f".{name}_checked", reading)
    path = Path(open_builder(name, data_dir).data_path)
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with occupied(folder, "preparing it", "data_dir"):
            if path.exists():  # from files that have changed
                shutil.rmtree(path)
            builder = open_builder(
                name,
                data_dir,
                layout=layout,
                parts=parts,
                progress=lambda: progress(next(done), total),
            )
            _write(builder, parts)
    finally:
        # After a failure TFDS removes its files, but not these folders.
        with contextlib.suppress(OSError):  # one is not empty
            folder.rmdir()
            folder.parent.rmdir()


def _is_prepared(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the dataset; raises InputError if it holds a part of it."""
    path = Path(open_builder(name, data_dir).data_path)
    if path.exists() and not (path / "dataset_info.json").is_file():
        raise InputError(damaged(path, "it has no dataset_info.json"))
    return path.exists()


def load(
    name: str,
    data_dir: StrPath | None,
    colors: Mapping[str, Color],
    max_pixels: int = FileLimits.max_pixels,
) -> Dataset:
    """Loads a dataset that `prepare` wrote.

    Classes have the colours of its source, then those of `colors`, then those of PASCAL VOC. Images
    of more than `max_pixels` are refused when they are read.

    Raises:
      InputError: if the dataset has not been prepared, or a file of it is missing or damaged.
    """
    hint = (
        f"sassn prepare --dataset={name} --source=FOLDER "
        f"--data_dir={shlex.quote(os.fspath(data_dir or 'FOLDER'))}"
    )
    if not data_dir:
        raise InputError(
            f"{data_dir=}: expected the folder in which {name} was prepared; prepare it: {hint}"
        )
    data_dir = expanded(data_dir)
    if not _is_prepared(name, data_dir):
        if former := [path for path in (data_dir / name).glob("[0-9]*") if path.is_dir()]:
            raise InputError(
                f"{former[0]}: holds {name} as an earlier version of this project prepared it, "
                f"perhaps with masks of other classes; remove it and prepare it again: {hint}"
            )
        raise InputError(
            f"data_dir={str(data_dir)!r}: holds no prepared {name}; prepare it: {hint}"
        )
    description = read_description(name, data_dir)
    classes = description.class_names
    palette = make_palette(classes, {**colors, **description.colors})
    return Dataset(
        DatasetInfo(name, classes, palette),
        {
            split: RecordSource(name, os.fspath(data_dir), split, ids, max_pixels)
            for split, ids in description.ids.items()
        },
        description.fingerprint,
        description.proposed,
    )


class Description(NamedTuple):
    """What is stored beside the records of a dataset.

    Attributes:
      class_names: in order of class id.
      ids: of the images of each split, in the order of the records.
      counts: of the masks of each split that has masks.
      notes: see `Layout.notes`.
      colors: see `Layout`.
      source: see `Layout.describe`.
      stamps: see `Layout`.
      proposed: see `Layout`.
    """

    class_names: tuple[str, ...]
    ids: dict[str, tuple[str, ...]]
    counts: dict[str, LabelCounts]
    notes: tuple[str, ...]
    colors: dict[str, Color]
    source: dict[str, Any]
    stamps: str
    proposed: frozenset[str]

    @property
    def fingerprint(self) -> str:
        """A hash of the names and sizes of the source's files, and of the classes in the masks."""
        counts = {
            split: dataclasses.asdict(of_split) for split, of_split in sorted(self.counts.items())
        }
        content = json.dumps([self.source, self.notes, counts], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def read_description(name: str, data_dir: StrPath) -> Description:
    """Reads what `prepare` stored beside the records of a dataset.

    Raises:
      InputError: if a file of the dataset is damaged.
    """
    builder = open_builder(name, expanded(data_dir))
    try:
        metadata = builder.info.metadata
        names = tuple(metadata["class_names"])
        # Datasets had no checksum when this was not stored.
        if metadata.get("checksum", expected := checksum(metadata)) != expected:
            raise ValueError("its checksum is wrong")
        counts = {split: LabelCounts.from_json(x) for split, x in metadata["counts"].items()}
        if any(len(of_split.pixels) != len(set(names)) for of_split in counts.values()):
            raise ValueError("the number of class names is not that of the counts")
        if metadata["ids"].keys() - {"train", "val", "test", UNLABELED}:  # they name files
            raise ValueError("it has other splits")
        if counts.keys() != metadata["ids"].keys() - {UNLABELED}:
            raise ValueError("the counts are of other splits")
        return Description(
            names,
            {split: tuple(ids) for split, ids in metadata["ids"].items()},
            counts,
            tuple(metadata["notes"]),
            {name: (red, green, blue) for name, (red, green, blue) in metadata["colors"].items()},
            {name: metadata[name] for name in SOURCE},
            metadata["stamps"],
            frozenset(metadata.get("proposed", ())),  # masks had no mark when this was not stored
        )
    except Exception as error:  # JSON is damaged, or fields are missing
        raise InputError(damaged(Path(builder.data_path) / "metadata.json", error)) from None


def _write(builder: Any, parts: CheckedParts) -> None:
    import tensorflow_datasets as tfds

    from sassn_jax.data.records_builder import SHARD_LENGTH

    # TFDS removes its temporary folder after an error, but a killed process leaves it.
    for unfinished in Path(builder.data_path).parent.glob("incomplete.*"):
        shutil.rmtree(unfinished)
    # TFDS announces a download and makes a folder for it, although nothing is downloaded.
    with (
        quiet(),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as downloads,
    ):
        try:
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
            parts.remove()
        except InputError:  # the user can correct the file and call again
            parts.keep(SHARD_LENGTH)
            raise
        except Exception as error:  # after a KeyboardInterrupt, no Exception, all parts stay
            parts.remove()
            # ArrayRecord raises a RuntimeError if the disk is full.
            if isinstance(error, RuntimeError) and not builder.is_reading:
                raise OSError(f"{builder.data_path}: cannot be written ({error})") from None
            raise
