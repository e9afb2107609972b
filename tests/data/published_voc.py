"""Makes a small folder in the layout of VOC 2012 and SBD."""

from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
from PIL import Image

LISTS = {
    "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": ["2008_000008", "2007_000032"],
    "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": ["2007_000033", "2008_000009"],
    "benchmark_RELEASE/dataset/train.txt": ["2008_000002", "2008_000008"],
    "benchmark_RELEASE/dataset/val.txt": ["2008_000009", "2008_000003", "2009_000001"],
}
TRAIN = ("2007_000032", "2008_000002", "2008_000003", "2008_000008", "2009_000001")
VAL = ("2007_000033", "2008_000009")
OF_VOC = {"2008_000008", "2007_000032", *VAL}
# Some colours of VOC's documentation; 255 is the border.
PALETTE = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
VOC, SBD = Path("VOCdevkit/VOC2012"), Path("benchmark_RELEASE/dataset")
MASKS, IMAGES, CLS = VOC / "SegmentationClass", VOC / "JPEGImages", SBD / "cls"


def save_mask(path, label, mode="P"):
    image = Image.fromarray(label)
    if mode == "P":
        palette = np.full((256, 3), 9, np.uint8)
        for index, color in PALETTE.items():
            palette[index] = color
        image.putpalette(palette.tobytes())
    image.save(path)


def save_mat(path, label):
    """Writes a mask as SBD does: boundaries by class, class ids, and the classes that occur."""
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = scipy.sparse.csc_matrix(label == i + 1, dtype=float)
    present = np.unique(label[label > 0])[:, None]
    scipy.io.savemat(
        path,
        {
            "GTcls": {
                "Boundaries": boundaries,
                "Segmentation": label,
                "CategoriesPresent": present,
            }
        },
        do_compression=True,
    )


def size_of(id_):
    """Returns an unusual height and width."""
    return 20 + int(id_[-1]), 31


def label_of(id_, of_voc, size=None):
    """Returns a mask; only those of VOC have borders."""
    rng = np.random.default_rng(int(id_.replace("_", "")) + of_voc)
    ids = [0, 1, 2, 20, 255] if of_voc else [0, 1, 2, 20]
    return rng.choice(np.array(ids, np.uint8), size or size_of(id_))


def write(root, size=None):
    """Writes both archives unpacked: seven images with masks, all of `size` if it is given."""
    for name, ids in LISTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(ids) + "\n")
    for folder in (MASKS, IMAGES, CLS, SBD / "img", SBD / "inst"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for id_ in {*TRAIN, *VAL, "2007_000027"}:  # VOC has images without masks too
        image = rng.integers(0, 256, (*(size or size_of(id_)), 3), np.uint8)
        Image.fromarray(image).save(root / IMAGES / f"{id_}.jpg")
    for id_ in OF_VOC:
        save_mask(root / MASKS / f"{id_}.png", label_of(id_, of_voc=True, size=size))
    for name in ("train.txt", "val.txt"):
        for id_ in LISTS[f"{SBD}/{name}"]:
            save_mat(root / CLS / f"{id_}.mat", label_of(id_, of_voc=False, size=size))
