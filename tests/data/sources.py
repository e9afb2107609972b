"""Sources for tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


def litter(root: Path) -> None:
    """Writes files such as macOS and Windows leave to each folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in (".DS_Store", "._0.jpg", "._0.png", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0")
    (root / "__MACOSX").mkdir()


@dataclass(frozen=True)
class ListSource:
    """Images in memory; `masks` says whether they have masks."""

    images: tuple[np.ndarray, ...]
    masks: bool = True

    @property
    def ids(self):
        return tuple(f"image_{i}" for i in range(len(self.images)))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        example = {"image": self.images[index], "id": self.ids[index]}
        if self.masks:
            example["label"] = self.images[index][..., 0] % 5
        return example


def numbered(count: int, size=(6, 7), masks=True) -> ListSource:
    """Returns images whose pixels are all the number of the image, to know it in a batch."""
    return ListSource(tuple(np.full((*size, 3), i, np.uint8) for i in range(count)), masks)


def noise(count: int, size=(20, 30), masks=True) -> ListSource:
    rng = np.random.default_rng(0)
    return ListSource(
        tuple(rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)), masks
    )
