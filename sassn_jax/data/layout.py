"""What `prepare` must know of a dataset: which images there are, and how to read each."""

import abc
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from sassn_jax.data.checked_parts import stamp
from sassn_jax.data.dataset import Color
from sassn_jax.data.lists import group_alike
from sassn_jax.errors import all_problems

Progress = Callable[[int, int], None]  # is called with the number of images done, and of all
SOURCE = ("class_names", "ids", "files")  # the keys of `Layout.describe`


class Layout(abc.ABC):
    """A dataset in the form in which it is published. Its lists have been read, its images not.

    Attributes:
      class_names: in order of class id.
      splits: ids of the images of each split.
      colors: of the classes by name, if the source gives them; for pictures.
      stamps: a hash of the names, sizes and times of all files, if the dataset is to be prepared
        anew when they change; empty if that is an error.
      proposed: ids of the images whose mask a network proposed, see `proposals`.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    colors: Mapping[str, Color] = MappingProxyType({})
    stamps: str = ""
    proposed: frozenset[str] = frozenset()

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each decision about the masks that the user should know of."""
        return ()

    @abc.abstractmethod
    def paths(self, split: str, id_: str) -> tuple[Traversable, Traversable]:
        """Returns the files that an image and its mask are made from."""

    @abc.abstractmethod
    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """Reads and checks an image and its mask.

        Returns:
          The contents of a JPEG or PNG file, and of a PNG file of class ids.

        Raises:
          InputError: if a file is missing or damaged, if the mask has another size than the image,
            or if it has an id that is not allowed. The message names the file.
        """

    def examined(self, progress: Progress) -> "Layout":
        """Returns the layout after decisions that need a look at the masks. Comes before `read`."""
        del progress
        return self

    def without(self, unreadable: Mapping[str, str]) -> "Layout":
        """Returns the layout without images of which a file is damaged. Comes before `examined`.

        Args:
          unreadable: what is wrong, by id; a line each, which names the file.

        Raises:
          InputError: if the images are needed; as in published datasets, which are complete.
        """
        raise all_problems(group_alike(unreadable))

    def describe(self) -> dict[str, Any]:
        """Returns what identifies the source, as JSON can hold it.

        These are `class_names`, the `ids` of each split, and as `files` a hash of the names and
        sizes of all files.
        """
        files = hashlib.sha256()
        for split, ids in self.splits.items():
            for id_ in ids:
                for path in self.paths(split, id_):
                    files.update(f"{path.name} {stamp(path)[1]}\n".encode())
        return {
            "class_names": list(self.class_names),
            "ids": {split: list(ids) for split, ids in self.splits.items()},
            "files": files.hexdigest(),
        }


def checksum(metadata: Mapping[str, Any]) -> str:
    """Returns a hash of what is stored beside the records, but for the entry `checksum`."""
    content = {name: value for name, value in metadata.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
