"""When checked parts of a dataset are used again."""

import zipfile
from pathlib import Path

import pytest

from sassn_jax.data.checked_parts import CheckedParts

IDS = ("a", "b")


def read(folder, sources):
    """Reads the files of two ids, and returns the ids that were checked for it."""
    checked, told = [], []

    def check(id_):
        checked.append(id_)
        return f"image {id_}".encode(), f"mask {id_}".encode()

    parts = CheckedParts(folder)
    files = parts.read(IDS, sources, check, lambda: told.append(1))
    assert files == [(b"image a", b"mask a"), (b"image b", b"mask b")]
    assert len(told) == len(IDS)
    return checked


@pytest.mark.parametrize("content", [b"", b"no zip file", None])
def test_a_damaged_part_counts_as_missing(tmp_path, content):
    """A power cut can leave a file without content."""
    sources = lambda id_: [tmp_path / id_]  # noqa: E731
    assert read(tmp_path / "parts", sources) == ["a", "b"]
    assert read(tmp_path / "parts", sources) == []
    (part,) = (tmp_path / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:-60] if content is None else content)
    assert read(tmp_path / "parts", sources) == ["a", "b"]
    assert read(tmp_path / "parts", sources) == []


def test_a_member_of_an_archive_is_known_by_its_checksum(tmp_path):
    """A user may download an archive again because of one damaged file; the others are the same."""
    archive = tmp_path / "images.zip"

    def write(**contents):
        archive.unlink(missing_ok=True)
        with zipfile.ZipFile(archive, "w") as file:
            for name, content in contents.items():
                file.writestr(name, content)

    def sources(id_):
        return [zipfile.Path(archive, id_)]

    write(a="1", b="2", c="3")
    assert read(tmp_path / "parts", sources) == ["a", "b"]
    write(a="1", b="2", c="whole now")
    assert read(tmp_path / "parts", sources) == []
    write(a="1", b="5", c="3")
    assert read(tmp_path / "parts", sources) == ["a", "b"]


def test_parts_of_another_length_can_go(tmp_path):
    parts = CheckedParts(tmp_path / "parts")
    parts.keep(2)  # there are none
    read(parts.folder, lambda id_: [Path(id_)])
    (parts.folder / ".left_2.zip.17").touch()  # a process was killed while it wrote this
    parts.keep(2)
    (part,) = parts.folder.iterdir()
    assert part.name.endswith("_2.zip")
    parts.keep(3)
    assert not parts.folder.exists()
