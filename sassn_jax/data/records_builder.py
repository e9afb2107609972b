"""The TFDS builder of all prepared datasets, imported only where one is used: TFDS is slow."""

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.images import orientation
from sassn_jax.data.masks import decode_label
from sassn_jax.data.statistics import LabelCounts

_SHARD_LENGTH = 128  # images in a file; TFDS gathers them in memory


class RecordsBuilder(tfds.core.ShardBasedBuilder):
    """Images with masks, in the order of their lists.

    Examples hold encoded files, not arrays: TFDS needs TensorFlow to encode, and nothing to copy.
    It writes shard by shard, because to sort a split of more than 1 GB it needs TensorFlow too.
    """

    VERSION = tfds.core.Version("3.0.0")  # since masks are kept with 8 bits, and counted
    # Nothing is downloaded; to look for checksums, TFDS needs a package that it does not declare.
    url_infos = None

    def __init__(
        self,
        name: str,
        data_dir: str,
        layout: Any = None,
        description: Mapping[str, Any] = MappingProxyType({}),
        parts: Any = None,
        progress: Callable[[], None] = lambda: None,
    ):
        """Finds what there is in `data_dir`.

        Args:
          name: of the dataset.
          data_dir: where prepared datasets are.
          layout: what `download_and_prepare` writes, a `records.Layout`.
          description: of it, what `records.describe` gives.
          parts: of it that have been checked, `CheckedParts`.
          progress: called after each image.
        """
        self.name = name
        self._layout, self._description = layout, description
        self._parts, self._progress = parts, progress
        self.is_reading = False  # the source; else an error is one of writing
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.Image(shape=(None, None, 1)),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator]]]:
        del dl_manager
        splits = self._layout.splits
        # TFDS writes the metadata last, with what has been counted by then.
        self._counts: dict[str, Any] = {}
        self.info.metadata.update({**self._description, "counts": self._counts})
        return {
            split: [
                functools.partial(self._examples, split, ids[i : i + _SHARD_LENGTH])
                for i in range(0, len(ids), _SHARD_LENGTH)
            ]
            for split, ids in splits.items()
        }

    @property
    def part_length(self) -> int:
        """Images that are read, checked and written together, but for the last of a split."""
        return _SHARD_LENGTH

    def _examples(self, split: str, ids: Sequence[str]) -> Iterator:
        self.is_reading = True
        files = self._parts.read(
            ids,
            functools.partial(self._layout.paths, split),
            functools.partial(self._layout.read, split),
            self._progress,
        )
        self.is_reading = False
        for id_, (image, label) in zip(ids, files, strict=True):
            if split != UNLABELED:
                self._count(split, image, label)
            yield id_, {"id": id_, "image": image, "label": label}

    def _count(self, split: str, image: bytes, label: bytes) -> None:
        """Adds a mask to what is counted of its split."""
        with Image.open(io.BytesIO(label), formats=["PNG"]) as opened:
            pixels = decode_label(opened)
        empty = LabelCounts.empty(len(self._layout.class_names)).to_json()
        before = LabelCounts.from_json(self._counts.get(split, empty))
        self._counts[split] = before.add(pixels, turned=orientation(image) != 1).to_json()
