"""CamVid: street scenes, prepared once as ArrayRecord files by TFDS and read without TensorFlow."""

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.camvid_layout import (
    SPLITS,
    check_files,
    decode_image,
    decode_label,
    read_layout,
)
from sassn_jax.data.dataset import Dataset, DatasetInfo, Example
from sassn_jax.errors import InputError

# The colours of the 11 classes, as the SegNet tutorial shows them.
COLORS = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}


def prepare(
    source: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Checks a folder of images and masks and writes it under `data_dir`, whole or not at all.

    Args:
      source: a folder as `camvid_layout` describes it.
      data_dir: where prepared datasets are; made if need be.
      progress: called with the number of images checked, and of all.

    Returns:
      Whether it wrote anything: False where the dataset had been prepared already.

    Raises:
      InputError: names the first file of `source` that is wrong; or `data_dir` holds other images.
      OSError: where `data_dir` cannot be written.
    """
    layout = read_layout(source)
    if is_prepared(data_dir):
        prepared = load(data_dir).splits
        if any(tuple(ids) != tuple(prepared[split].ids) for split, ids in layout.splits.items()):
            raise InputError(
                f"{os.fspath(data_dir)}: holds camvid from a source with other images; choose "
                f"another --data_dir, or remove {_builder(data_dir).data_path}"
            )
        return False
    total = sum(map(len, layout.splits.values()))
    done = iter(range(1, total + 1))
    check_files(layout, lambda: progress(next(done), total))
    _write(data_dir, layout.root)
    return True


def is_prepared(data_dir: str | os.PathLike[str]) -> bool:
    """Whether `data_dir` holds the dataset."""
    # TFDS renames the whole folder to this name last. Its own `is_prepared` warns of a missing one.
    return (_builder(data_dir).data_path / "dataset_info.json").is_file()


def load(data_dir: str | os.PathLike[str] | None) -> Dataset:
    """The dataset that `prepare` wrote.

    Raises:
      InputError: where there is none.
    """
    hint = (
        "python -m experiments.prepare --dataset=camvid --source=FOLDER "
        f"--data_dir={os.fspath(data_dir or 'FOLDER')}"
    )
    if not data_dir:
        raise InputError(f"{data_dir=}: camvid is read from files; prepare them: {hint}")
    if not is_prepared(data_dir):
        raise InputError(f"{data_dir=!s}: holds no prepared camvid; prepare it: {hint}")
    names = tuple(_builder(data_dir).info.metadata["class_names"])
    info = DatasetInfo("camvid", names, _palette(names))
    return Dataset(info, {split: CamvidSource(os.fspath(data_dir), split) for split in SPLITS})


class CamvidSource:
    """One split, read from ArrayRecord files."""

    def __init__(self, data_dir: str, split: str):
        """Opens the files.

        Args:
          data_dir: where prepared datasets are.
          split: `train`, `val` or `test`.
        """
        # Not later, when the first image is asked for: that may be in one of several threads, and
        # TFDS must not be imported while another thread imports anything.
        import tensorflow_datasets as tfds

        skip = tfds.decode.SkipDecoding()
        self._data_dir, self._split = data_dir, split
        with _quiet():
            self._records = _builder(data_dir).as_data_source(
                split, decoders={"image": skip, "label": skip}
            )

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """The images' names, in the order of the split's list."""
        return tuple(self._records[i]["id"].decode() for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: the split {self._split!r} has {len(self)} images")
        record = self._records[index]
        with Image.open(io.BytesIO(record["image"])) as image:
            pixels = decode_image(image)
        with Image.open(io.BytesIO(record["label"])) as image:
            label = decode_label(image)
        return {"image": pixels, "label": label, "id": record["id"].decode()}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay here: a loader process opens its own.
        return CamvidSource, (self._data_dir, self._split)


def _builder(data_dir: str | os.PathLike[str]) -> Any:
    from sassn_jax.data.camvid_builder import CamvidBuilder

    with _quiet():
        return CamvidBuilder(data_dir=os.fspath(data_dir), file_format="array_record")


def _write(data_dir: str | os.PathLike[str], source: Path) -> None:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    # TFDS announces a download, and makes a folder for it. Neither is of use to anybody here.
    with (
        _quiet(),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as downloads,
    ):
        try:
            _builder(data_dir).download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=os.fspath(source.resolve()), try_download_gcs=False
                ),
            )
        except RuntimeError as error:  # what ArrayRecord raises where a disk is full
            raise OSError(f"{os.fspath(data_dir)}: cannot be written ({error})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS logs each time that it reads its own files, and warns of the one that it will write."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _palette(class_names: tuple[str, ...]) -> UInt8[np.ndarray, "C 3"]:
    """CamVid's colours; for classes that it does not have, ones from PASCAL VOC's series."""
    return np.array(
        [COLORS.get(name, _voc_color(i + 1)) for i, name in enumerate(class_names)], np.uint8
    )


def _voc_color(number: int) -> tuple[int, int, int]:
    """Colour of a class of PASCAL VOC: the number's bits dealt out to the channels from the top."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
