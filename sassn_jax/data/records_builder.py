"""The TFDS builder of prepared datasets. Import it only where it is used, since TFDS is slow."""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow_datasets as tfds
from PIL import Image

from sassn_jax.data.checked_parts import CheckedParts, Files, WrongFilesError
from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.images import orientation
from sassn_jax.data.layout import Layout, checksum
from sassn_jax.data.masks import decode_label
from sassn_jax.data.statistics import LabelCounts
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath

SHARD_LENGTH = 128  # images that are checked and written together; TFDS holds them in memory


class _CheckedMetadata(tfds.core.MetadataDict):
    """What `records.Description` holds, as JSON with a checksum. Records have one of their own."""

    def save_metadata(self, data_dir: StrPath) -> None:
        self["checksum"] = checksum(self)
        super().save_metadata(data_dir)


class RecordsBuilder(tfds.core.ShardBasedBuilder):
    """Images with masks, in the order of their lists.

    Two things avoid TensorFlow. Examples hold encoded files instead of arrays, since TFDS encodes
    by TensorFlow. And shards are given one by one, since TFDS sorts splits of more than 1 GB by it.
    """

    VERSION = tfds.core.Version("4.0.0")  # the times of the source's files are stored
    # Nothing is downloaded. Without this line TFDS needs a further package to look for checksums.
    url_infos = None

    def __init__(
        self,
        name: str,
        data_dir: str,
        layout: Layout | None = None,
        parts: CheckedParts | None = None,
        progress: Callable[[], None] = lambda: None,
    ):
        """Opens the dataset in `data_dir`, if there is one.

        The other arguments are for `download_and_prepare`: the `layout` that it writes, the `parts`
        that an earlier call has checked, and `progress`, which it calls after each image.
        """
        self.name = name
        self._layout, self._parts, self._progress = layout, parts, progress
        self.is_reading = False  # the source; otherwise an error is one of writing
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
            metadata=_CheckedMetadata(),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator]]]:
        del dl_manager
        layout, parts = self._layout, self._parts
        assert layout is not None, "needed to write"
        assert parts is not None, "needed to write"
        empty = dataclasses.asdict(LabelCounts.empty(len(layout.class_names)))
        # TFDS writes the metadata last, when all masks have been counted.
        self._counts = {split: empty for split in layout.splits if split != UNLABELED}
        self.info.metadata.update(
            {
                **layout.describe(),
                "notes": list(layout.notes),
                "counts": self._counts,
                "colors": dict(layout.colors),
                "stamps": layout.stamps,
                "proposed": sorted(layout.proposed),
            }
        )
        shards: dict[str, list[Sequence[str]]] = {
            split: [ids[i : i + SHARD_LENGTH] for i in range(0, len(ids), SHARD_LENGTH)]
            for split, ids in layout.splits.items()
        }
        self._unread = [(split, ids) for split, of_split in shards.items() for ids in of_split]
        read = functools.partial(self._examples, layout, parts)
        return {
            split: [functools.partial(read, split, ids) for ids in of_split]
            for split, of_split in shards.items()
        }

    def _examples(
        self, layout: Layout, parts: CheckedParts, split: str, ids: Sequence[str]
    ) -> Iterator:
        self.is_reading = True
        files = self._read(layout, parts, split, ids)
        self.is_reading = False
        for id_, (image, label) in zip(ids, files, strict=True):
            if split != UNLABELED:
                self._count(split, image, label)
            yield id_, {"id": id_, "image": image, "label": label}

    def _read(
        self, layout: Layout, parts: CheckedParts, split: str, ids: Sequence[str]
    ) -> list[Files]:
        """Reads a shard. If a file is wrong, reads all others too and names all that are wrong."""
        self._unread.remove((split, ids))
        wrong: dict[str, InputError] = {}
        for one, its_ids in ((split, ids), *self._unread):
            paths, read = functools.partial(layout.paths, one), functools.partial(layout.read, one)
            try:
                files = parts.read(its_ids, paths, read, self._progress)
            except WrongFilesError as error:
                wrong |= error.errors
            if not wrong:
                return files
        raise WrongFilesError(wrong)

    def _count(self, split: str, image: bytes, label: bytes) -> None:
        """Adds a mask to the counts of its split."""
        with Image.open(io.BytesIO(label), formats=["PNG"]) as opened:
            pixels = decode_label(opened)
        before = LabelCounts.from_json(self._counts[split])
        counts = before.add(pixels, turned=orientation(image) != 1)
        self._counts[split] = dataclasses.asdict(counts)
