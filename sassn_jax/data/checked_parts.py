"""Checked images of an interrupted `prepare`, which the next call need not check again."""

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from sassn_jax.data.lists import group_alike
from sassn_jax.errors import InputError, UnreadableError, all_problems
from sassn_jax.files import replacing

Files = tuple[bytes, bytes]  # the contents of an image file and a mask file


class WrongFilesError(InputError):
    """The files of some images cannot be used.

    Attributes:
      errors: the reasons, by the ids of the images.
    """

    def __init__(self, errors: Mapping[str, InputError]):
        """Makes one message of all errors, of which there is at least one."""
        one = all_problems(group_alike({id_: str(error) for id_, error in errors.items()}))
        super().__init__(str(one), one.details)
        self.errors = dict(errors)

    @property
    def lines(self) -> tuple[str, ...]:
        """All errors, a line each or one for many that say the same."""
        return self.details or (str(self),)

    @property
    def unreadable(self) -> dict[str, str]:
        """The reasons for those images of which a file is damaged, by id."""
        return {
            id_: str(error)
            for id_, error in self.errors.items()
            if isinstance(error, UnreadableError)
        }


@dataclass(frozen=True)
class CheckedParts:
    """A folder of parts, each with some checked images and masks of a dataset.

    A part is used again only if its source files still have the same names, sizes and modification
    times; in a zip file, checksums instead of times.

    Attributes:
      folder: of the parts; created with the first one.
      reading: identifies how files are read. Parts of another reading are not used.
    """

    folder: Path
    reading: str = ""

    def read(
        self,
        ids: Sequence[str],
        sources: Callable[[str], Sequence[Traversable]],
        check: Callable[[str], Files],
        on_image: Callable[[], None],
    ) -> list[Files]:
        """Returns the image and mask of each id, from the part of an earlier call if there is one.

        Otherwise `check` reads them from the files `sources(id)`, and the part is written.
        `on_image` is called after each image.

        Raises:
          WrongFilesError: for all images for which `check` raises an InputError.
        """
        stamps = [self.reading, *([id_, *map(stamp, sources(id_))] for id_ in ids)]
        digest = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
        path = self.folder / f"{digest[:32]}_{len(ids)}.zip"
        if (found := _read_part(path, ids)) is not None:
            for _ in ids:
                on_image()
            return found
        files: list[Files] = []
        wrong: dict[str, InputError] = {}
        for id_ in ids:
            try:
                files.append(check(id_))
            except InputError as error:
                wrong[id_] = error
            on_image()
        if wrong:
            raise WrongFilesError(wrong)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, zipfile.ZipFile(beside, "w") as part:
            for id_, (image, mask) in zip(ids, files, strict=True):
                part.writestr(f"{id_}/image", image)
                part.writestr(f"{id_}/mask", mask)
        return files

    def keep(self, length: int) -> None:
        """Removes all parts that have not this number of images, and the folder if it is empty."""
        for path in self.folder.glob("*"):
            if not path.name.endswith(f"_{length}.zip"):
                path.unlink()
        with contextlib.suppress(OSError):  # it is not empty, or does not exist
            self.folder.rmdir()

    def remove(self) -> None:
        """Removes the folder and its content."""
        shutil.rmtree(self.folder, ignore_errors=True)


def stamp(path: Traversable) -> tuple[str, int, int]:
    """Returns name, size (0 if missing) and time of a file; its checksum if it is in a zip file."""
    with contextlib.suppress(OSError, KeyError):  # an error follows when the file is read
        if isinstance(path, zipfile.Path):
            member = path.root.getinfo(path.at)
            return str(path), member.file_size, member.CRC
        stat = Path(str(path)).stat()
        return str(path), stat.st_size, stat.st_mtime_ns
    return str(path), 0, 0


def _read_part(path: Path, ids: Sequence[str]) -> list[Files] | None:
    """Returns the content of a part; None if it is missing, or damaged as by a power cut."""
    try:
        with zipfile.ZipFile(path) as part:
            return [(part.read(f"{id_}/image"), part.read(f"{id_}/mask")) for id_ in ids]
    except Exception:  # a damaged zip file fails in many ways
        return None
