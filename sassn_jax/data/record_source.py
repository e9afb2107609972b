"""Reads images and masks from the ArrayRecord files of TFDS, without TensorFlow."""

import contextlib
import functools
import io
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from sassn_jax.data.dataset import Example
from sassn_jax.data.images import decode_image, opened
from sassn_jax.data.limits import FileLimits
from sassn_jax.data.masks import decode_label
from sassn_jax.errors import InputError, UnreadableError, one_line
from sassn_jax.files import StrPath

_PAUSE = 0.1  # seconds before an image is read again that could not be read


class RecordSource:
    """One split of a prepared dataset."""

    def __init__(
        self,
        name: str,
        data_dir: str,
        split: str,
        ids: tuple[str, ...],
        max_pixels: int = FileLimits.max_pixels,
    ):
        """Opens the files, and reads at least one record of each. `ids` has their order.

        Raises:
          InputError: if a file is missing, truncated, in another folder, or not the one that was
            written.
        """
        # Imported here, in the main thread: TFDS must not be imported while another thread imports.
        import tensorflow_datasets as tfds

        skip = tfds.decode.SkipDecoding()
        self.ids = ids
        self._arguments = name, data_dir, split, ids, max_pixels
        builder = open_builder(name, data_dir)
        try:
            written = builder.info.splits[split]
            self._files = tuple(map(Path, written.filepaths))
            self._ends = tuple(itertools.accumulate(written.shard_lengths))
            folder = Path(builder.data_path)
            if any(file.parent != folder or not file.name.isprintable() for file in self._files):
                raise ValueError(f"it names files of {split} in other folders")
            if self._ends[-1] != len(ids):
                raise ValueError(f"it does not hold all images of {split}")
            with quiet():
                self._open = functools.partial(
                    builder.as_data_source, split, decoders={"image": skip, "label": skip}
                )
                self._records = self._open()
        except Exception as error:  # TFDS fails in many ways on damaged files
            info = Path(builder.data_path) / "dataset_info.json"
            raise InputError(damaged(info, error)) from None
        for start, end in zip((0, *self._ends), self._ends, strict=False):
            self._check_file(start, end)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: the split {self._arguments[2]!r} has {len(self)} images")
        record = self._read(index)
        try:
            # Pillow may try only the formats that were written.
            most = self._arguments[-1]
            with opened(io.BytesIO(record["image"]), ("JPEG", "PNG"), most) as image:
                pixels = decode_image(image)
            with opened(io.BytesIO(record["label"]), ("PNG",), most) as image:
                label = decode_label(image)
        except InputError as error:  # it is too large
            raise InputError(
                f"image {self.ids[index]!r} of {self._arguments[2]}: {error}"
            ) from None
        except Exception as error:  # Pillow reports damage by many types of errors
            raise UnreadableError(self._damaged(index, error)) from None
        return {"image": pixels, "label": label, "id": self.ids[index]}

    def __reduce__(self) -> tuple[Any, ...]:
        # Files are not pickled: a loader process opens its own.
        return RecordSource, self._arguments

    def _check_file(self, start: int, end: int) -> None:
        """Checks that a record of a file, of images `start` to `end - 1`, is the one written there.

        A file without its end has no readable record. A damaged record hides no other one: it is
        found when it is read.
        """
        for index in (end - 1, *range(start, end - 1)):
            try:
                self._read_once(index)
            except UnreadableError as error:
                last = error
            else:
                return
        raise InputError(str(last))

    def _read(self, index: int) -> dict[str, bytes]:
        """Reads the record of an image, and once more from a file opened anew if that fails."""
        try:
            return self._read_once(index)
        except UnreadableError:
            time.sleep(_PAUSE)  # the disk, or the network before it, may have failed for a moment
            self._records = self._open()
            return self._read_once(index)

    def _read_once(self, index: int) -> dict[str, bytes]:
        """Reads the record of an image; raises `UnreadableError` if it is damaged or another's."""
        try:
            record = self._records[index]
            if record["id"] is None:
                raise ValueError("what stands in its place is no image")
            found = record["id"].decode()
        except MemoryError:
            raise
        except Exception as error:  # ArrayRecord, Riegeli and TFDS raise errors of their own
            raise UnreadableError(self._damaged(index, error)) from None
        if found != self.ids[index]:
            raise UnreadableError(self._damaged(index, f"image {found!r} is in its place"))
        return record

    def _damaged(self, index: int, reason: object) -> str:
        """Returns the message for an image that cannot be read; it names the file."""
        file = self._files[next(i for i, end in enumerate(self._ends) if index < end)]
        return damaged(file, f"image {self.ids[index]!r} of {self._arguments[2]}: {reason}")


def damaged(path: Path, reason: object) -> str:
    """Returns the message for a damaged file or folder of a prepared dataset."""
    folder = path if path.is_dir() else path.parent
    text = one_line(reason)[:200]
    return f"{path}: damaged or missing ({text}); remove {folder} and prepare the dataset again"


def open_builder(name: str, data_dir: StrPath, **kwargs: Any) -> Any:
    """Returns the `RecordsBuilder` of a dataset, prepared or not; `kwargs` are its arguments too.

    Raises:
      InputError: if a JSON file of TFDS is damaged.
    """
    from sassn_jax.data.records_builder import RecordsBuilder

    try:
        with quiet():
            return RecordsBuilder(name, os.fspath(data_dir), **kwargs)
    except Exception as error:  # of JSON and of protocol buffers, and assertions
        info = Path(data_dir) / name / str(RecordsBuilder.VERSION) / "dataset_info.json"
        raise InputError(damaged(info, error)) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from logging what it reads and writes."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
