"""Lists of image ids."""

import pytest

from sassn_jax.data.lists import read_list
from sassn_jax.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_may_be_written_on_windows(tmp_path, encoding):
    path = tmp_path / "train.txt"
    path.write_text("one\r\n\r\nzwö\r\n", encoding, newline="")
    assert read_list(path, "image ids") == ("one", "zwö")


def test_a_list_of_other_bytes_is_named(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xff\xfeo")  # half a letter
    with pytest.raises(
        InputError, match=r"train.txt: not a text file; expected image ids, one per"
    ):
        read_list(path, "image ids")
