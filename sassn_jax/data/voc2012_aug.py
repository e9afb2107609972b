"""PASCAL VOC 2012 with the masks of SBD: 10,582 training images, as in the paper.

The source is a folder with the two unpacked archives:

VOCdevkit/VOC2012/JPEGImages/ID.jpg
VOCdevkit/VOC2012/SegmentationClass/ID.png             indices of a palette; 255 = borders
VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
benchmark_RELEASE/dataset/{train,val}.txt, cls/ID.mat  SBD (Hariharan et al. 2011)

Converted masks of SBD, `VOCdevkit/VOC2012/SegmentationClassAug/ID.png`, may replace
`benchmark_RELEASE`. An image with masks of both VOC and SBD gets VOC's. The archives do not list
all training images. Some converted masks come with such a list, `trainaug.txt`; it is used if it is
beside VOC's lists.
"""

import functools
import itertools
import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sassn_jax.data import matlab
from sassn_jax.data.dataset import voc_color
from sassn_jax.data.images import encode_png, read_bytes
from sassn_jax.data.layout import Layout
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import check_folder, is_of_system, name_several, read_list
from sassn_jax.data.masks import read_label, read_pair
from sassn_jax.errors import InputError, one_line
from sassn_jax.files import StrPath, expanded

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


@dataclass(frozen=True)
class VocLayout(Layout):
    """The images in the folder `voc`, and the file of each mask by id, of VOC or of SBD."""

    voc: Path
    masks: Mapping[str, Path]
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...] = CLASS_NAMES
    limits: FileLimits = LIMITS

    def paths(self, split: str, id_: str) -> tuple[Path, Path]:
        """Returns the files of an image and its mask."""
        del split  # all splits share the folders
        return self.voc / "JPEGImages" / f"{id_}.jpg", self.masks[id_]

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """Reads an image and its mask; a mask of SBD is converted to PNG."""
        image_path, label_path = self.paths(split, id_)
        most = self.limits.max_pixels
        read = functools.partial(read_label, max_pixels=most)
        if label_path.suffix == ".mat":
            read = functools.partial(read_sbd_label, max_pixels=most)
        return read_pair(image_path, label_path, len(self.class_names), read, most)[:2]


def read_layout(source: StrPath, limits: FileLimits = LIMITS) -> VocLayout:
    """Reads the lists and finds the files, without reading an image.

    Raises:
      InputError: if a folder or a list is missing, if the files are not those of the lists, if the
        number of images is not the published one, or if a link leads out of the source.
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
    layout = VocLayout(voc, masks, splits, limits=limits)
    pairs = (layout.paths(split, id_) for split, ids in splits.items() for id_ in ids)
    limits.check_links(source, itertools.chain(*pairs))
    return layout


def _sbd_masks(voc: Path, sbd: Path, own: Collection[str]) -> dict[str, Path]:
    """Returns the files of SBD's masks by id. `own` are the ids for which VOC has masks."""
    if sbd.is_dir():
        train, val = (read_list(sbd / f"{split}.txt", "image ids") for split in ("train", "val"))
        ids = {*train, *val}
        check_folder(sbd / "cls", ".mat", ids, f"{sbd / 'train.txt'} or val.txt")
        return {id_: sbd / "cls" / f"{id_}.mat" for id_ in ids}
    folder = voc / "SegmentationClassAug"
    if not folder.is_dir():
        raise InputError(f"{sbd}: no such folder; expected SBD there, or its masks in {folder}")
    ids = _ids_in(folder, ".png")
    lists = str(folder / "*.png")
    trainaug = voc / "ImageSets" / "Segmentation" / TRAINAUG
    if trainaug.is_file():  # the folder may also hold masks of val
        ids = (ids & set(own)) | (set(read_list(trainaug, "image ids")) - set(own))
        lists = str(trainaug)
    check_folder(folder, ".png", ids, lists)
    return {id_: folder / f"{id_}.png" for id_ in ids}


def _ids_in(folder: Path, suffix: str) -> set[str]:
    """Returns the ids of the files `ID` and suffix in a folder, which need not exist."""
    return {path.stem for path in folder.glob(f"*{suffix}") if not is_of_system(path.name)}


def _name_missing(lists: Path, sbd: Path, known: Collection[str]) -> str:
    """Names missing images, if other lists or folders have them: the end of a message."""
    for path in (lists / TRAINAUG, lists / "trainval.txt"):
        if path.is_file() and (missing := set(read_list(path, "image ids")) - set(known)):
            return f"; in {path}, but without a mask: {min(missing)}{name_several(missing)}"
    objects = lists.parents[1] / "SegmentationObject"
    for folder, suffix in ((sbd / "img", ".jpg"), (sbd / "inst", ".mat"), (objects, ".png")):
        if missing := _ids_in(folder, suffix) - set(known):
            return f"; in {folder}, but in no list: {min(missing)}{name_several(missing)}"
    if (lists / TRAINAUG).is_file():
        return ""
    return f"; to see which images are missing, put a list of all in {lists / TRAINAUG}"


def _name_extra(lists: Path, ids: Collection[str]) -> str:
    """Names the training images that are too many: the end of a message."""
    path = lists / TRAINAUG
    if not path.is_file():
        return f"; to see which images are too many, put a list of all in {path}"
    extra = set(ids) - set(read_list(path, "image ids"))
    return f"; not in {path}: {min(extra)}{name_several(extra)}" if extra else ""


def read_sbd_label(
    path: Traversable, max_pixels: int = FileLimits.max_pixels
) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a mask of SBD: `GTcls.Segmentation` of a MATLAB file.

    Returns:
      The mask as the content of a PNG file, and its pixels.

    Raises:
      InputError: if the file is missing or damaged or has no such mask, or if it takes more than 4
        bytes for each of `max_pixels` once it is unpacked.
    """
    content = read_bytes(path)
    try:
        label = matlab.read_field(content, "GTcls", "Segmentation", 4 * max_pixels)
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as a mask of SBD ({one_line(error)})") from None
    return encode_png(np.ascontiguousarray(label)), label
