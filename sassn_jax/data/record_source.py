"""Images and masks out of ArrayRecord files that TFDS wrote, read without TensorFlow."""

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging
from PIL import Image

from sassn_jax.data.dataset import Example
from sassn_jax.data.images import decode_image
from sassn_jax.data.masks import decode_label
from sassn_jax.errors import InputError


class RecordSource:
    """One split of a prepared dataset."""

    def __init__(self, name: str, data_dir: str, split: str, ids: tuple[str, ...]):
        """Opens the files, and reads the first and the last record of each.

        Args:
          name: of the dataset.
          data_dir: where prepared datasets are.
          split: one that the dataset has.
          ids: the images' names, in the order of the records.

        Raises:
          InputError: where a file is missing, cut short, or not the one that was written.
        """
        # Not later, when the first image is asked for: that may be in one of several threads, and
        # TFDS must not be imported while another thread imports anything.
        import tensorflow_datasets as tfds

        skip = tfds.decode.SkipDecoding()
        self.ids = ids
        self._arguments = name, data_dir, split, ids
        builder = open_builder(name, data_dir)
        try:
            written = builder.info.splits[split]
            self._files = tuple(map(Path, written.filepaths))
            self._ends = tuple(itertools.accumulate(written.shard_lengths))
            if self._ends[-1] != len(ids):
                raise ValueError(f"it does not hold all of {split}")
            with quiet():
                self._records = builder.as_data_source(
                    split, decoders={"image": skip, "label": skip}
                )
        except Exception as error:  # of what TFDS finds in its own files
            raise InputError(damaged(Path(builder.data_path), error)) from None
        for start, end in zip((0, *self._ends), self._ends, strict=False):
            for index in {start, end - 1}:
                self._read(index)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: the split {self._arguments[2]!r} has {len(self)} images")
        record = self._read(index)
        try:
            # No format but those that were written is looked for.
            with Image.open(io.BytesIO(record["image"]), formats=["JPEG", "PNG"]) as image:
                pixels = decode_image(image)
            with Image.open(io.BytesIO(record["label"]), formats=["PNG"]) as image:
                label = decode_label(image)
        except Exception as error:  # Pillow reports damage in too many ways to name
            raise InputError(self._damaged(index, error)) from None
        return {"image": pixels, "label": label, "id": self.ids[index]}

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay here: a loader process opens its own.
        return RecordSource, self._arguments

    def _read(self, index: int) -> dict[str, bytes]:
        """The record of an image; InputError where it is not there, or another one is."""
        try:
            record = self._records[index]
            found = record["id"].decode()
        except Exception as error:  # ArrayRecord, Riegeli and TFDS have errors of their own
            raise InputError(self._damaged(index, error)) from None
        if found != self.ids[index]:
            raise InputError(self._damaged(index, f"image {found!r} is in its place"))
        return record

    def _damaged(self, index: int, reason: object) -> str:
        """A line about the file of an image that cannot be read."""
        file = self._files[next(i for i, end in enumerate(self._ends) if index < end)]
        return damaged(file, f"image {self.ids[index]!r}: {reason}")


def damaged(path: Path, reason: object) -> str:
    """A line about a file or folder of a prepared dataset that is not as it was written."""
    text = " ".join(str(reason).split())[:200]
    folder = path if path.is_dir() else path.parent
    return f"{path}: damaged or missing ({text}); remove {folder} and prepare the dataset again"


def open_builder(name: str, data_dir: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Opens what there is of a dataset: a `RecordsBuilder`, which takes `kwargs` too.

    Raises:
      InputError: where a description that TFDS wrote is damaged.
    """
    from sassn_jax.data.records_builder import RecordsBuilder

    try:
        with quiet():
            return RecordsBuilder(name, os.fspath(data_dir), **kwargs)
    except Exception as error:  # of JSON, of protocol buffers, and assertions
        folder = Path(data_dir) / name / str(RecordsBuilder.VERSION)
        raise InputError(damaged(folder, error)) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """TFDS logs each time that it reads its own files, and warns of the one that it will write."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
