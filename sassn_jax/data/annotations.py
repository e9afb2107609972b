"""Shapes that people draw on images in LabelMe, CVAT and other tools, as masks of class ids.

labels/ID.json       LabelMe's file of one image
labels/ANY.json      COCO's file of many images: polygons, and RLE of both kinds

Pixels in no shape are of class 0 if that is called background, and are ignored if it is not. Shapes
with the label `ignore` or `__ignore__` are ignored too, whether or not classes.txt has `ignore`.
"""

import contextlib
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.class_list import IGNORE
from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.data.folder_files import files_below, id_of
from sassn_jax.data.images import Photo
from sassn_jax.data.masks import as_shown, check_size
from sassn_jax.data.segmentations import run_lengths
from sassn_jax.data.shapes import draw_shape
from sassn_jax.errors import InputError, UnreadableError, one_line
from sassn_jax.files import read_json

_IGNORED = (IGNORE, "__ignore__")
_LARGEST = 2**29  # bytes: the largest file of COCO itself has 449 million
_BACKGROUND = ("background", "_background_")  # as classes.txt and LabelMe call it


@dataclass(frozen=True)
class LabelMe:
    """LabelMe's file of one image. Later shapes are drawn over earlier ones."""

    path: Path

    def draw(self, class_names: Sequence[str], photo: Photo) -> UInt8[np.ndarray, "H W"]:
        """Draws shapes of all kinds as LabelMe itself draws them.

        Returns:
          The mask of the photo as it is shown.

        Raises:
          InputError: names the file, if it is damaged, has another size than the photo, a label
            that is no class, or a shape that cannot be drawn.
        """
        content = _read_json(self.path)
        try:
            height, width = photo.pixels.shape[:2]
            size = content.get("imageHeight") or height, content.get("imageWidth") or width
            if not all(isinstance(side, int) for side in size):
                raise ValueError("imageHeight and imageWidth are no whole numbers")
            check_size(self.path, size, photo)
            label = _blank(class_names, size)
            canvas = Image.fromarray(label)
            for shape in content["shapes"]:
                class_id = _class_id(self.path, shape["label"], class_names)
                draw_shape(canvas, shape, class_id)
        except InputError:
            raise
        except Exception as error:  # any value may be of any type
            reason = f"{type(error).__name__}: {one_line(error)[:300]}"
            raise InputError(
                f"{self.path}: cannot be read as a file of LabelMe ({reason})"
            ) from None
        return as_shown(self.path, np.asarray(canvas), photo)


@dataclass(frozen=True)
class CocoImage:
    """An image in a file of COCO. Shapes of fewer pixels are drawn over those of more.

    Attributes:
      path: the file.
      size: height and width that the file states.
      shapes: id, category and segmentation of each annotation.
    """

    path: Path
    size: tuple[int, int]
    shapes: tuple[tuple[Any, str, Any], ...]

    def draw(self, class_names: Sequence[str], photo: Photo) -> UInt8[np.ndarray, "H W"]:
        """Draws the shapes by pycocotools; of two with as many pixels, the later is on top.

        Returns and raises: as `LabelMe.draw`; an InputError too if pycocotools is not installed.
        """
        try:
            from pycocotools import mask as coco  # an extra
        except ImportError:
            raise InputError(
                f"{self.path}: pycocotools, which reads this file, is not installed; "
                "pip install 'sassn_jax[coco]'"
            ) from None
        check_size(self.path, self.size, photo)
        label = _blank(class_names, self.size)
        drawn = []
        for id_, category, segmentation in self.shapes:
            class_id = _class_id(self.path, category, class_names)
            with self._drawing(id_):
                encoded = run_lengths(segmentation, self.size)
                drawn.append((int(coco.area(encoded)), id_, class_id, encoded))
        for _, id_, class_id, encoded in sorted(drawn, key=lambda shape: -shape[0]):
            with self._drawing(id_):
                label[coco.decode(encoded) > 0] = class_id
        return as_shown(self.path, label, photo)

    @contextlib.contextmanager
    def _drawing(self, id_: Any) -> Iterator[None]:
        """Names the annotation if it cannot be drawn."""
        try:
            yield
        except Exception as error:  # any value may be of any type
            raise InputError(
                f"{self.path}: annotation {id_!r:.100}: cannot be drawn ({one_line(error)[:300]})"
            ) from None


Annotation = LabelMe | CocoImage


def find_annotations(folder: Path, images: Collection[str]) -> dict[str, Annotation]:
    """Finds the annotations of images in the `.json` files below a folder.

    A file with the id of an image, such as `ID.json`, is LabelMe's. Every other file is COCO's. If
    an image is in both, LabelMe's is taken. An image that COCO lists without any annotation is
    left out, because tools list images that nobody has looked at, too.

    Args:
      folder: need not exist.
      images: their ids, which are paths below another folder, without the ending.

    Raises:
      InputError: if a file is neither of the two, shows no image of `images`, or if two files of
        COCO annotate the same image.
    """
    known = frozenset(images)
    found: dict[str, Annotation] = {}
    several: dict[str, CocoImage] = {}
    for path in sorted(_json_files(folder)):
        if (id_ := id_of(folder, path)) in known:
            found[id_] = LabelMe(path)
            continue
        for id_, image in _read_coco(path, known).items():
            if id_ in several:
                raise InputError(f"{path}: {id_!r} is annotated in {several[id_].path} too")
            several[id_] = image
    return {**several, **found}


def _json_files(folder: Path) -> Iterator[Path]:
    return (path for path in files_below(folder) if path.suffix.lower() == ".json")


def find_annotated(folder: Path, images: Collection[str]) -> frozenset[str]:
    """Returns the ids of those images that `find_annotations` finds in a folder.

    Files that it would refuse are passed over.
    """
    known, found = frozenset(images), set[str]()
    for path in _json_files(folder):
        if (id_ := id_of(folder, path)) in known:
            found.add(id_)
            continue
        with contextlib.suppress(InputError):
            found.update(_read_coco(path, known))
    return frozenset(found)


def _read_coco(path: Path, known: Collection[str]) -> dict[str, CocoImage]:
    """Returns the images of a COCO file that have annotations, by id."""
    content = _read_json(path)
    if not isinstance(content, Mapping) or not {"images", "annotations"} <= content.keys():
        raise InputError(
            f"{path}: no image in images/ has this name, so it should be a file of COCO, with "
            "images, annotations and categories; rename or remove it"
        )
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        shapes: dict[Any, list[tuple[Any, str, Any]]] = {}
        for shape in content["annotations"]:
            described = shape["id"], names[shape["category_id"]], shape["segmentation"]
            shapes.setdefault(shape["image_id"], []).append(described)
        found: dict[str, CocoImage] = {}
        is_known = False
        for image in content["images"]:
            id_ = _id_of(image["file_name"], known)
            is_known = is_known or id_ is not None
            if id_ is not None and (drawn := shapes.get(image["id"])):
                if id_ in found:
                    raise InputError(
                        f"{path}: two of its images can be {id_!r}, the second is "
                        f"{image['file_name']!r:.200}; give the photos different names"
                    )
                size = int(image["height"]), int(image["width"])
                found[id_] = CocoImage(path, size, tuple(drawn))
    except InputError:
        raise
    except Exception as error:  # any value may be of any type
        reason = f"{type(error).__name__}: {one_line(error)[:300]}"
        raise InputError(f"{path}: cannot be read as a file of COCO ({reason})") from None
    if not is_known:
        raise InputError(f"{path}: none of the files that it names is in images/")
    return found


def _id_of(file_name: str, known: Collection[str]) -> str | None:
    """Returns the id of the image that is named so, perhaps below other folders than images/."""
    file_name = unicodedata.normalize("NFC", file_name.replace("\\", "/"))
    parts = PurePosixPath(file_name).with_suffix("").parts
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in known), None)


def _blank(class_names: Sequence[str], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Returns a mask without shapes."""
    return np.full(size, 0 if class_names[0].lower() in _BACKGROUND else IGNORE_LABEL, np.uint8)


def _class_id(path: Path, name: Any, class_names: Sequence[str]) -> int:
    if name in class_names:
        return class_names.index(name)
    if name in _IGNORED:
        return IGNORE_LABEL
    if name in _BACKGROUND and class_names[0].lower() in _BACKGROUND:
        return 0
    if not any(class_names):
        raise InputError(
            f"{path}: the label {name!r:.200} needs a classes.txt; expected one beside images/ "
            "with the name of each class, one a line"
        )
    raise InputError(
        f"{path}: the label {name!r:.200} is not in classes.txt, which has "
        f"{', '.join(class_names)}; add it there, or change the label"
    )


def _read_json(path: Path) -> Any:
    try:
        return read_json(path, _LARGEST)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path}: cannot be read as JSON ({one_line(error)})") from None
