"""Datasets that TFDS writes once as ArrayRecord files."""

import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sassn_jax.data.checked_parts import CheckedParts, stamp
from sassn_jax.data.dataset import UNLABELED, Dataset, DatasetInfo, voc_color
from sassn_jax.data.record_source import RecordSource, damaged, open_builder, quiet
from sassn_jax.data.statistics import LabelCounts
from sassn_jax.errors import InputError
from sassn_jax.files import expanded, occupied

SOURCE = ("class_names", "ids", "files")  # what `describe` gives


@runtime_checkable
class Layout(Protocol):
    """A dataset as its publishers lay it out: its lists have been read, and none of its images."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In order of class id."""

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of the images of each split."""

    def paths(self, split: str, id_: str) -> tuple[Traversable, Traversable]:
        """The files that an image and its mask are made from."""

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """An image and its mask, checked: the contents of image files.

        Raises:
          InputError: names the file that is wrong.
        """


def prepare(
    name: str,
    layout: Layout,
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    notes: Sequence[str] = (),
) -> bool:
    """Checks a dataset's images and masks and writes them under `data_dir`, whole or not at all.

    What had been checked stays for the next call, and only for it: of a call that was killed or
    stopped all, of one that a wrong file ended what fills files of records, of one that another
    error ended, such as a full disk, nothing. While it is written, a dataset takes twice its space.

    Args:
      name: of the dataset.
      layout: what it consists of.
      data_dir: where prepared datasets are; made if need be.
      progress: called with the number of images written, and of all.
      notes: how the source was understood, to be kept with it.

    Returns:
      Whether it wrote anything: False where the dataset had been prepared already.

    Raises:
      InputError: names the first file that is wrong; or `data_dir` holds other images, or another
        process is preparing the dataset there.
      OSError: where `data_dir` cannot be written.
    """
    data_dir = expanded(data_dir)
    if is_prepared(name, data_dir):
        prepared, now = read_description(name, data_dir), describe(layout)
        if prepared.source != now:
            raise InputError(
                f"{os.fspath(data_dir)}: holds {name} from a source with other classes, images or "
                f"masks; choose another --data_dir, or remove {Path(data_dir) / name}"
            )
        return False
    _check_writable_name(data_dir)
    total = sum(map(len, layout.splits.values()))
    done = iter(range(1, total + 1))
    # Parts that were checked for other classes, or read in another way, are not taken.
    reading = json.dumps([*layout.class_names, *notes])
    parts = CheckedParts(Path(data_dir) / f".{name}_checked", reading)
    builder = open_builder(
        name,
        data_dir,
        layout=layout,
        description={**describe(layout), "notes": list(notes)},
        parts=parts,
        progress=lambda: progress(next(done), total),
    )
    if Path(builder.data_path).exists():  # TFDS would leave it as it is
        raise InputError(damaged(Path(builder.data_path), "it has no dataset_info.json"))
    folder = Path(builder.data_path).parent
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with occupied(folder, "preparing it", "--data_dir"):
            _write(builder, parts)
    finally:
        # TFDS removes its files where something fails; the folders made for them go here.
        with contextlib.suppress(OSError):  # there is something in them
            folder.rmdir()
            folder.parent.rmdir()
    return True


def _check_writable_name(data_dir: Path) -> None:
    try:
        str(data_dir).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"data_dir={str(data_dir)!r}: expected a name in UTF-8, as ArrayRecord writes no other"
        ) from None


def describe(layout: Layout) -> dict[str, Any]:
    """What is kept of a source beside its records, as JSON can hold it.

    Returns:
      `class_names`; `ids` of the images of each split, so that nobody need read all to know their
      names; and `files`, a sum of the names and sizes of the files that they are made from.
    """
    files = hashlib.sha256()
    for split, ids in layout.splits.items():
        for id_ in ids:
            for path in layout.paths(split, id_):
                files.update(f"{path.name} {stamp(path)[1]}\n".encode())
    return {
        "class_names": list(layout.class_names),
        "ids": {split: list(ids) for split, ids in layout.splits.items()},
        "files": files.hexdigest(),
    }


def is_prepared(name: str, data_dir: str | os.PathLike[str]) -> bool:
    """Whether `data_dir` holds the dataset."""
    data_dir = expanded(data_dir)
    # TFDS renames the whole folder to this name last. Its own `is_prepared` warns of a missing one.
    return (open_builder(name, data_dir).data_path / "dataset_info.json").is_file()


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    colors: Mapping[str, tuple[int, int, int]],
) -> Dataset:
    """The dataset that `prepare` wrote.

    Args:
      name: of the dataset.
      data_dir: where `prepare` put it.
      colors: by class name; for other classes, ones from PASCAL VOC's series.

    Raises:
      InputError: where there is none, or a file of it is missing or damaged.
    """
    hint = (
        f"python -m experiments.prepare --dataset={name} --source=FOLDER "
        f"--data_dir={shlex.quote(os.fspath(data_dir or 'FOLDER'))}"
    )
    if not data_dir:
        raise InputError(
            f"{data_dir=}: {name} is read from files; say where they were prepared "
            f"(--config.data_dir=FOLDER), or prepare them: {hint}"
        )
    data_dir = expanded(data_dir)
    if not is_prepared(name, data_dir):
        current = Path(open_builder(name, data_dir).data_path)
        if current.exists():
            raise InputError(damaged(current, "it has no dataset_info.json"))
        if former := [path for path in (data_dir / name).glob("[0-9]*") if path.is_dir()]:
            raise InputError(
                f"{former[0]}: holds {name} as an earlier version of this project prepared it, "
                f"which could take masks for other classes; remove it and prepare again: {hint}"
            )
        raise InputError(f"{data_dir=!s}: holds no prepared {name}; prepare it: {hint}")
    description = read_description(name, data_dir)
    classes = description.class_names
    palette = np.array([colors.get(c, voc_color(i + 1)) for i, c in enumerate(classes)], np.uint8)
    return Dataset(
        DatasetInfo(name, classes, palette),
        {
            split: RecordSource(name, os.fspath(data_dir), split, ids)
            for split, ids in description.ids.items()
        },
        description.fingerprint,
    )


class Description(NamedTuple):
    """What is kept of a dataset beside its records.

    Attributes:
      class_names: in order of class id.
      ids: of the images of each split, so that nobody need read all to know their names.
      counts: of what the masks of each split hold, but for images without masks.
      notes: how the source was understood.
      source: what `describe` gave of it.
    """

    class_names: tuple[str, ...]
    ids: dict[str, tuple[str, ...]]
    counts: dict[str, LabelCounts]
    notes: tuple[str, ...]
    source: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """A sum of the names and sizes of the source's files, and of what is in the masks."""
        counts = {split: of_split.to_json() for split, of_split in sorted(self.counts.items())}
        content = json.dumps([self.source, self.notes, counts], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def read_description(name: str, data_dir: str | os.PathLike[str]) -> Description:
    """Reads what `prepare` kept of a dataset beside its records.

    Raises:
      InputError: where a file of the dataset is damaged.
    """
    builder = open_builder(name, expanded(data_dir))
    try:
        metadata = builder.info.metadata
        names = tuple(metadata["class_names"])
        counts = {split: LabelCounts.from_json(x) for split, x in metadata["counts"].items()}
        if any(len(of_split.pixels) != len(set(names)) for of_split in counts.values()):
            raise ValueError("it has not a name for each class that was counted")
        if counts.keys() != metadata["ids"].keys() - {UNLABELED}:
            raise ValueError("it has not counted what is in each split")
        return Description(
            names,
            {split: tuple(ids) for split, ids in metadata["ids"].items()},
            counts,
            tuple(metadata["notes"]),
            {name: metadata[name] for name in SOURCE},
        )
    except Exception as error:  # of JSON, or of what is missing in it
        raise InputError(damaged(Path(builder.data_path) / "metadata.json", error)) from None


def _write(builder: Any, parts: CheckedParts) -> None:
    import tensorflow_datasets as tfds

    # What one that was killed left behind. TFDS makes each anew, and removes it in all other cases.
    for unfinished in Path(builder.data_path).parent.glob("incomplete.*"):
        shutil.rmtree(unfinished)
    # TFDS announces a download, and makes a folder for it. Neither is of use to anybody here.
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
        except InputError:  # a file can be mended
            parts.keep(builder.part_length)
            raise
        except Exception as error:  # a Ctrl-C is none: what has been checked then stays
            parts.remove()
            # What ArrayRecord raises where a disk is full.
            if isinstance(error, RuntimeError) and not builder.is_reading:
                raise OSError(f"{builder.data_path}: cannot be written ({error})") from None
            raise
