"""PASCAL VOC 2012 with the masks of SBD: 10,582 training images, as in the paper.

The source is a folder in which the two archives were unpacked:

VOCdevkit/VOC2012/JPEGImages/ID.jpg
VOCdevkit/VOC2012/SegmentationClass/ID.png             indices of a palette; 255 = borders
VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
benchmark_RELEASE/dataset/{train,val}.txt, cls/ID.mat  SBD (Hariharan et al. 2011)

In place of `benchmark_RELEASE` there may be `VOCdevkit/VOC2012/SegmentationClassAug/ID.png`, SBD's
masks as others have converted them. An image that has a mask of VOC's is given that one. Nowhere in
these archives are all training images listed: the list `trainaug.txt`, which some who convert SBD
write beside VOC's, is used where it is there.
"""

import io
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sassn_jax.data import records
from sassn_jax.data.dataset import Dataset, voc_color
from sassn_jax.data.images import (
    check_folder,
    encode_png,
    is_of_system,
    name_several,
    read_bytes,
    read_image,
    read_list,
)
from sassn_jax.data.masks import check_label, read_label
from sassn_jax.errors import InputError
from sassn_jax.files import expanded

NAME = "voc2012_aug"
CLASS_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
COLORS = {name: voc_color(i) for i, name in enumerate(CLASS_NAMES)}
SPLIT_SIZES = {"train": 10_582, "val": 1_449}
TRAINAUG = "trainaug.txt"  # ids of all training images


def prepare(
    source: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Writes the images and masks of `source` under `data_dir`, as `records.prepare` does."""
    return records.prepare(NAME, read_layout(source), data_dir, progress)


def load(data_dir: str | os.PathLike[str] | None) -> Dataset:
    """The dataset that `prepare` wrote; InputError where there is none."""
    return records.load(NAME, data_dir, COLORS)


@dataclass(frozen=True)
class VocLayout:
    """What the lists say.

    Attributes:
      voc: the folder `VOC2012`.
      masks: the file of each image's mask, of VOC or of SBD.
      splits: ids of the images of each split, sorted.
      class_names: in order of class id.
    """

    voc: Path
    masks: Mapping[str, Path]
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...] = CLASS_NAMES

    def paths(self, split: str, id_: str) -> tuple[Path, Path]:
        """The files of an image and its mask."""
        del split  # all are in the same folders
        return self.voc / "JPEGImages" / f"{id_}.jpg", self.masks[id_]

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """The files of an image and its mask; SBD's masks as PNG.

        Raises:
          InputError: names the one that is missing, unreadable, of another size than the other, or
            holds an id that is no class of VOC.
        """
        image_path, path = self.paths(split, id_)
        image_file, image = read_image(image_path)
        if path.suffix == ".mat":
            label_file, label = None, read_sbd_label(path)
        else:
            label_file, label = read_label(path)
        check_label(path, label, image, len(self.class_names))
        return image_file, label_file or encode_png(label)


def read_layout(source: str | os.PathLike[str]) -> VocLayout:
    """Reads the lists of a folder, and which files there are; looks at no image.

    Raises:
      InputError: where a folder or a list is missing, lists and files are not of the same images,
        or there are not as many images as there should be.
    """
    source = expanded(source)
    voc = source / "VOCdevkit" / "VOC2012"
    if not voc.is_dir():
        raise InputError(f"{voc}: no such folder; expected VOC 2012, unpacked in {source}")
    lists = voc / "ImageSets" / "Segmentation"
    train, val = (set(read_list(lists / f"{split}.txt", "image ids")) for split in ("train", "val"))
    if both := train & val:
        raise InputError(f"{lists / 'train.txt'}: {min(both)!r} is in val.txt too")
    check_folder(
        voc / "SegmentationClass", ".png", train | val, f"{lists / 'train.txt'} or val.txt"
    )
    sbd = source / "benchmark_RELEASE" / "dataset"
    masks = _sbd_masks(voc, sbd, train | val)
    splits = {"train": tuple(sorted((train | set(masks)) - val)), "val": tuple(sorted(val))}
    for split, ids in splits.items():
        named = f"the lists for {split}" + (" or among SBD's masks" if split == "train" else "")
        check_folder(voc / "JPEGImages", ".jpg", ids, named, others=True)
    for split, ids in splits.items():
        if len(ids) != SPLIT_SIZES[split]:
            if len(ids) < SPLIT_SIZES[split]:
                which = _name_missing(lists, sbd, train | val | set(masks))
            else:
                which = _name_extra(lists, ids) if split == "train" else ""
            raise InputError(
                f"{source}: {len(ids)} images for {split}; expected {SPLIT_SIZES[split]}: VOC's "
                f"lists have {len(train)} of 1464 for train and {len(val)} of 1449 for val, and "
                f"{len(set(masks) - train - val)} of 9118 have a mask of SBD alone{which}"
            )
    masks |= {id_: voc / "SegmentationClass" / f"{id_}.png" for id_ in train | val}
    return VocLayout(voc, masks, splits)


def _sbd_masks(voc: Path, sbd: Path, own: Collection[str]) -> dict[str, Path]:
    """The files of SBD's masks, by image id; `own` are the ids of which VOC has masks too."""
    if sbd.is_dir():
        train, val = (read_list(sbd / f"{split}.txt", "image ids") for split in ("train", "val"))
        ids = {*train, *val}
        check_folder(sbd / "cls", ".mat", ids, f"{sbd / 'train.txt'} or val.txt")
        return {id_: sbd / "cls" / f"{id_}.mat" for id_ in ids}
    folder = voc / "SegmentationClassAug"
    if not folder.is_dir():
        raise InputError(f"{sbd}: no such folder; expected SBD there, or its masks in {folder}")
    ids = {
        path.stem
        for path in folder.iterdir()
        if path.suffix == ".png" and not is_of_system(path.name)
    }
    lists = str(folder / "*.png")
    trainaug = voc / "ImageSets" / "Segmentation" / TRAINAUG
    if trainaug.is_file():  # some who convert SBD write this list; the folder may hold val's too
        ids = (ids & set(own)) | (set(read_list(trainaug, "image ids")) - set(own))
        lists = str(trainaug)
    check_folder(folder, ".png", ids, lists)
    return {id_: folder / f"{id_}.png" for id_ in ids}


def _name_missing(lists: Path, sbd: Path, known: Collection[str]) -> str:
    """What else in the archives tells of images that ought to be there: the end of a message.

    Args:
      lists: the folder of VOC's lists.
      sbd: the folder of SBD, if there is one.
      known: ids of the images that have a mask.
    """
    for path in (lists / TRAINAUG, lists / "trainval.txt"):
        if path.is_file() and (missing := set(read_list(path, "image ids")) - set(known)):
            return f"; in {path}, but without a mask: {min(missing)}{name_several(missing)}"
    objects = lists.parents[1] / "SegmentationObject"
    for folder, suffix in ((sbd / "img", ".jpg"), (sbd / "inst", ".mat"), (objects, ".png")):
        ids = {path.stem for path in folder.glob(f"*{suffix}") if not is_of_system(path.name)}
        if missing := ids - set(known):
            return f"; in {folder}, but in no list: {min(missing)}{name_several(missing)}"
    if (lists / TRAINAUG).is_file():
        return ""
    return f"; which ones are missing can be told only with a list of all in {lists / TRAINAUG}"


def _name_extra(lists: Path, ids: Collection[str]) -> str:
    """Which training images there ought not to be: the end of a message."""
    path = lists / TRAINAUG
    if not path.is_file():
        return f"; which ones are too many can be told only with a list of all in {path}"
    extra = set(ids) - set(read_list(path, "image ids"))
    return f"; not in {path}: {min(extra)}{name_several(extra)}" if extra else ""


def read_sbd_label(path: Traversable) -> UInt8[np.ndarray, "H W"]:
    """Reads a mask of SBD: `GTcls.Segmentation` of a MATLAB file.

    Raises:
      InputError: where the file is missing, damaged, or holds no such mask, or SciPy is not
        installed.
    """
    try:
        import scipy.io  # slow, and needed for nothing else
    except ImportError:
        raise InputError(
            f"{path}: SciPy, which reads it, is not installed; pip install 'sassn_jax[voc]'"
        ) from None
    content = io.BytesIO(read_bytes(path))
    try:
        label = scipy.io.loadmat(content, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # SciPy reports a damaged file in too many ways to name
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a mask of SBD ({reason})") from None
    if label.dtype != np.uint8 or label.ndim != 2:
        raise InputError(
            f"{path}: GTcls.Segmentation is {label.dtype} of shape {label.shape}; expected one "
            "channel of 8-bit class ids"
        )
    return label
