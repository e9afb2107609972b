"""Datasets that TFDS wrote once as ArrayRecord files, read without TensorFlow."""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from absl import logging
from PIL import Image

from sassn_jax.data.checked_parts import CheckedParts, stamp
from sassn_jax.data.dataset import Dataset, DatasetInfo, Example, voc_color
from sassn_jax.data.images import decode_image
from sassn_jax.data.masks import decode_label
from sassn_jax.errors import InputError
from sassn_jax.files import expanded, occupied


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

    Returns:
      Whether it wrote anything: False where the dataset had been prepared already.

    Raises:
      InputError: names the first file that is wrong; or `data_dir` holds other images, or another
        process is preparing the dataset there.
      OSError: where `data_dir` cannot be written.
    """
    data_dir = expanded(data_dir)
    if is_prepared(name, data_dir):
        builder = _builder(name, data_dir)
        prepared = dict(builder.info.metadata)
        # Of one that was prepared before this was kept, only the lists are compared.
        if any(prepared.get(key, value) != value for key, value in describe(layout).items()):
            raise InputError(
                f"{os.fspath(data_dir)}: holds {name} from a source with other classes, images or "
                f"masks; choose another --data_dir, or remove {builder.data_path}"
            )
        return False
    total = sum(map(len, layout.splits.values()))
    done = iter(range(1, total + 1))
    parts = CheckedParts(Path(data_dir) / f".{name}_checked")
    builder = _builder(
        name,
        data_dir,
        layout=layout,
        description=describe(layout),
        parts=parts,
        progress=lambda: progress(next(done), total),
    )
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
    # TFDS renames the whole folder to this name last. Its own `is_prepared` warns of a missing one.
    return (_builder(name, data_dir).data_path / "dataset_info.json").is_file()


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
      InputError: where there is none.
    """
    hint = (
        f"python -m experiments.prepare --dataset={name} --source=FOLDER "
        f"--data_dir={os.fspath(data_dir or 'FOLDER')}"
    )
    if not data_dir:
        raise InputError(
            f"{data_dir=}: {name} is read from files; say where they were prepared "
            f"(--config.data_dir=FOLDER), or prepare them: {hint}"
        )
    data_dir = expanded(data_dir)
    if not is_prepared(name, data_dir):
        raise InputError(f"{data_dir=!s}: holds no prepared {name}; prepare it: {hint}")
    metadata = _builder(name, data_dir).info.metadata
    classes = tuple(metadata["class_names"])
    palette = np.array([colors.get(c, voc_color(i + 1)) for i, c in enumerate(classes)], np.uint8)
    return Dataset(
        DatasetInfo(name, classes, palette),
        {
            split: RecordSource(name, os.fspath(data_dir), split, tuple(ids))
            for split, ids in metadata["ids"].items()
        },
    )


class RecordSource:
    """One split, read from ArrayRecord files."""

    def __init__(self, name: str, data_dir: str, split: str, ids: tuple[str, ...]):
        """Opens the files.

        Args:
          name: of the dataset.
          data_dir: where prepared datasets are.
          split: one that the dataset has.
          ids: the images' names, in the order of the records.
        """
        # Not later, when the first image is asked for: that may be in one of several threads, and
        # TFDS must not be imported while another thread imports anything.
        import tensorflow_datasets as tfds

        skip = tfds.decode.SkipDecoding()
        self.ids = ids
        self._arguments = name, data_dir, split, ids
        with _quiet():
            self._records = _builder(name, data_dir).as_data_source(
                split, decoders={"image": skip, "label": skip}
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: the split {self._arguments[2]!r} has {len(self)} images")
        record = self._records[index]
        # No format but those that were written is looked for.
        with Image.open(io.BytesIO(record["image"]), formats=["JPEG", "PNG"]) as image:
            pixels = decode_image(image)
        with Image.open(io.BytesIO(record["label"]), formats=["PNG"]) as image:
            label = decode_label(image)
        return {"image": pixels, "label": label, "id": record["id"].decode()}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay here: a loader process opens its own.
        return RecordSource, self._arguments


def _builder(name: str, data_dir: str | os.PathLike[str], **kwargs: Any) -> Any:
    from sassn_jax.data.records_builder import RecordsBuilder

    with _quiet():
        return RecordsBuilder(name, os.fspath(data_dir), **kwargs)


def _write(builder: Any, parts: CheckedParts) -> None:
    import tensorflow_datasets as tfds

    # What one that was killed left behind. TFDS makes each anew, and removes it in all other cases.
    for unfinished in Path(builder.data_path).parent.glob("incomplete.*"):
        shutil.rmtree(unfinished)
    # TFDS announces a download, and makes a folder for it. Neither is of use to anybody here.
    with (
        _quiet(),
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS logs each time that it reads its own files, and warns of the one that it will write."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
