"""Reads a dataset from the files of its publisher or owner, without preparing it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from sassn_jax.data.dataset import Color, Dataset, DatasetInfo, Example, make_palette
from sassn_jax.data.images import decode_image
from sassn_jax.data.layout import Layout
from sassn_jax.data.masks import decode_label


@dataclass(frozen=True)
class LayoutSource:
    """One split of a layout. Each image and its mask are checked when they are read."""

    layout: Layout
    split: str

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order."""
        return self.layout.splits[self.split]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Example:
        id_ = self.ids[index]
        image_file, label_file = self.layout.read(self.split, id_)
        with Image.open(io.BytesIO(image_file), formats=["JPEG", "PNG"]) as image:
            pixels = decode_image(image)
        with Image.open(io.BytesIO(label_file), formats=["PNG"]) as image:
            label = decode_label(image)
        return {"image": pixels, "label": label, "id": id_}


def read_unprepared(name: str, layout: Layout, colors: Mapping[str, Color]) -> Dataset:
    """Returns a dataset whose images and masks are read from the files of a layout.

    Args:
      name: of the dataset.
      layout: after `Layout.examined`.
      colors: of the classes by name.
    """
    names = layout.class_names
    info = DatasetInfo(name, names, make_palette(names, colors))
    sources = {split: LayoutSource(layout, split) for split in layout.splits}
    return Dataset(info, sources, proposed=layout.proposed)
