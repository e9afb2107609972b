"""Where the folders of users are prepared."""

from pathlib import Path

from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded, replacing

_SOURCE = "source.txt"  # names the folder from which what stands beside it was prepared


def place(source: StrPath, data_dir: StrPath | None) -> Path:
    """Returns where a folder of images and masks is prepared.

    Args:
      source: the folder; empty for the one that is prepared in `data_dir`.
      data_dir: folder of prepared datasets. Each source has a folder of its own name in it. Empty:
        the folder `.sassn` of the source.

    Raises:
      InputError: if both are empty, or `source` is and several folders are prepared in `data_dir`.
    """
    if source:
        path = expanded(source).resolve()
        return expanded(data_dir) / path.name if data_dir else path / ".sassn"
    if not data_dir:
        raise InputError(
            "source='': expected a folder of images and masks, or in data_dir the folder in which "
            "sassn prepare --dataset=folder --source=FOLDER --data_dir=FOLDER has prepared one"
        )
    data_dir = expanded(data_dir)
    prepared = sorted({path.parent.parent for path in data_dir.glob("*/folder/[0-9]*")})
    if any(data_dir.glob("folder/[0-9]*")) or not prepared:
        return data_dir
    if len(prepared) > 1:
        names = ", ".join(str(path) for path in prepared)
        raise InputError(f"data_dir={str(data_dir)!r}: holds several folders; expected {names}")
    return prepared[0]


def check_same_source(source: StrPath, prepared: Path) -> None:
    """Checks that a place, see `place`, is not that of another folder with the same name.

    Raises:
      InputError: if another folder, which is still there, was prepared in this place.
    """
    path = prepared / _SOURCE
    if not path.is_file():
        return
    other = Path(path.read_text(encoding="utf-8").strip())
    if other.is_dir() and other != expanded(source).resolve():
        raise InputError(
            f"data_dir={str(prepared.parent)!r}: {prepared.name} was prepared there from {other}; "
            "choose another data_dir, or give one of the two folders another name"
        )


def write_source(source: StrPath, prepared: Path) -> None:
    """Writes which folder was prepared in a place, unless the place is in that folder itself."""
    root = expanded(source).resolve()
    if prepared.resolve().parent != root:
        with replacing(prepared / _SOURCE) as beside:
            beside.write_text(f"{root}\n", encoding="utf-8")
