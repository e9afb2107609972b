"""What `prepare` has checked before it was stopped, so that it need not be checked again."""

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from sassn_jax.files import replacing

Files = tuple[bytes, bytes]  # of an image and its mask


@dataclass(frozen=True)
class CheckedParts:
    """Images and masks of a dataset, some at a time, in a folder that goes when all are done.

    A part that is there is taken only if the files that it was made from still have the names,
    sizes and times that they had; in an archive, checksums in place of times.

    Attributes:
      folder: for the parts, made if need be.
      reading: how the files are read; a part of another reading is not taken.
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
        """Returns the image and mask of each id, from an earlier call where one came so far.

        Args:
          ids: of a part.
          sources: the files that the image and mask of an id are made from.
          check: reads and checks the two.
          on_image: called after each of them.
        """
        stamps = [self.reading, *([id_, *map(stamp, sources(id_))] for id_ in ids)]
        digest = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
        path = self.folder / f"{digest[:32]}_{len(ids)}.zip"
        if (found := _read_part(path, ids)) is not None:
            for _ in ids:
                on_image()
            return found
        files: list[Files] = []
        for id_ in ids:
            files.append(check(id_))
            on_image()
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, zipfile.ZipFile(beside, "w") as part:
            for id_, (image, mask) in zip(ids, files, strict=True):
                part.writestr(f"{id_}/image", image)
                part.writestr(f"{id_}/mask", mask)
        return files

    def keep(self, length: int) -> None:
        """Removes all but the parts of so many images; the folder too where there are none."""
        for path in self.folder.glob("*"):
            if not path.name.endswith(f"_{length}.zip"):
                path.unlink()
        with contextlib.suppress(OSError):  # it is not empty, or not there
            self.folder.rmdir()

    def remove(self) -> None:
        """Removes the folder, with whatever is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def stamp(path: Traversable) -> tuple[str, int, int]:
    """Name and size of a file, and its time or, in an archive, sum; zeros where it is missing."""
    with contextlib.suppress(OSError, KeyError):  # whoever reads it tells what is wrong
        if isinstance(path, zipfile.Path):
            member = path.root.getinfo(path.at)
            return str(path), member.file_size, member.CRC
        stat = Path(str(path)).stat()
        return str(path), stat.st_size, stat.st_mtime_ns
    return str(path), 0, 0


def _read_part(path: Path, ids: Sequence[str]) -> list[Files] | None:
    """What is in a part; None where it is not there, or damaged, as by a power cut."""
    try:
        with zipfile.ZipFile(path) as part:
            return [(part.read(f"{id_}/image"), part.read(f"{id_}/mask")) for id_ in ids]
    except Exception:  # a damaged one fails in too many ways to name
        return None
