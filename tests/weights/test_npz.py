import io
import zipfile

import numpy as np
import pytest

from sassn_jax.errors import InputError
from sassn_jax.weights import npz, reading


def test_arrays_come_back_by_name(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"conv1.weight": np.arange(6.0).reshape(2, 3), "bn1.bias": np.ones(3)})
    arrays = npz.read(path)
    assert set(arrays) == {"conv1.weight", "bn1.bias"}
    np.testing.assert_array_equal(arrays["conv1.weight"], [[0, 1, 2], [3, 4, 5]])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.npz.*no such file"):
        npz.read(tmp_path / "nowhere.npz")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="Is a directory"):
        npz.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a \.npz file") as error:
        npz.read(path)
    assert "\n" not in str(error.value)


def test_half_a_file_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.zeros(1000))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match=r"expected a \.npz file"):
        npz.read(path)


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a \.npz file"):
        npz.read(path)


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        npz.read(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.array([{"code": "could run"}], dtype=object))
    with pytest.raises(InputError, match="allow_pickle"):
        npz.read(path)


def test_names_are_known_without_reading(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"conv1.weight": np.ones(3), "pickled": np.array([{}], dtype=object)})
    assert npz.names(path) == ["conv1.weight", "pickled"]
    with pytest.raises(InputError, match=r"nowhere\.npz.*no such file"):
        npz.names(tmp_path / "nowhere.npz")


def test_other_files_in_a_zip_are_refused(tmp_path):
    """As of every `.pth` that PyTorch writes today, whatever it is called."""
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", b"a pickle")
    with pytest.raises(InputError, match=r"plain arrays \(archive/data\.pkl in it is no array\)"):
        npz.read(path)


# Offsets in a member's two headers, of the compression method and of the flags.
@pytest.mark.parametrize(
    ("local", "central", "value", "message"),
    [(8, 10, 97, "compression method"), (6, 8, 1, "encrypted, password required")],
)
def test_what_python_cannot_unpack_is_refused(tmp_path, local, central, value, message):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    content = bytearray(buffer.getvalue())
    content[content.index(b"PK\3\4") + local] = value
    content[content.index(b"PK\1\2") + central] = value
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        npz.read(path)
    assert "\n" not in str(error.value)


def test_what_takes_far_more_memory_than_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SMALL", 2**20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(2**19))
    with pytest.raises(InputError, match=r"take 4194432 bytes, more than 20 times the \d+ of the"):
        npz.read(path)


def test_an_array_that_states_more_than_there_is_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("a.npy", content + bytes(8))
    with pytest.raises(InputError, match=r"'a\.npy' in it has 8 bytes, but states 4000000000000"):
        npz.read(path)
