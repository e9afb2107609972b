"""Files are there whole, or not at all."""

import os

import pytest

from sassn_jax.files import replacing


def test_writers_of_one_file_do_not_share_a_name(tmp_path):
    """Process ids are not unique over hosts, nor over containers."""
    path = tmp_path / "result.json"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert len({one.name, other.name, path.name}) == 3
        assert all(beside.name.startswith(".result.json.") for beside in (one, other))
    assert path.read_text() == "one"  # whose block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_of_others(tmp_path):
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as beside:
            beside.touch()
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_an_error_leaves_nothing(tmp_path):
    def write():
        with replacing(tmp_path / "a") as beside:
            beside.touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"\[Errno 28\] .*/a'"):
        write()
    assert list(tmp_path.iterdir()) == []
