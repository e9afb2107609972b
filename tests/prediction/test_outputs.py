"""The files of a prediction, read back by Pillow and NumPy."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data import DatasetInfo
from sassn_jax.errors import InputError
from sassn_jax.prediction.outputs import Outputs
from sassn_jax.prediction.result import Prediction

INFO = DatasetInfo("toy", ("sky", "sea"), np.array([[0, 0, 200], [0, 200, 0]], np.uint8))
EVERYTHING = Outputs(overlays=True, probabilities=True, confidence=True, threshold=0.8)


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    sky = rng.uniform(size=(30, 40)).astype(np.float32)
    probabilities = np.stack([sky, 1 - sky], axis=-1)
    return Prediction(
        image=rng.integers(0, 256, (30, 40, 3), np.uint8),
        ids=np.argmax(probabilities, axis=-1).astype(np.uint8),
        certainty=probabilities.max(axis=-1),
        info=INFO,
        kept_probabilities=probabilities,
        confidence=rng.uniform(size=(30, 40)).astype(np.float32),
    )


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_writes_the_files_that_it_names(result, tmp_path):
    name = Path("a b", "ü.jpg")
    for outputs in (Outputs(), EVERYTHING):
        outputs.write(tmp_path, name, result)
        assert files(tmp_path) == set(outputs.paths(tmp_path, name))
    certain = result.certainty >= 0.8
    with Image.open(tmp_path / "a b" / "ü.png") as ids:
        np.testing.assert_array_equal(ids, np.where(certain, result.ids, 255))
    with np.load(tmp_path / "probabilities" / "a b" / "ü.npz") as arrays:
        np.testing.assert_array_equal(arrays["probabilities"], result.probabilities)


def test_ids_come_last_so_that_a_photo_with_ids_is_finished(result, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Prediction, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            EVERYTHING.write(tmp_path, Path("x.jpg"), result)
    assert not (tmp_path / "x.png").exists()


def test_a_file_that_could_not_be_finished_is_not_there(result, tmp_path, monkeypatch):
    def half(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", half)
    outputs = Outputs(probabilities=True)
    with pytest.raises(OSError, match=r"x\.npz"):
        outputs.write(tmp_path, Path("x.jpg"), result)
    assert not files(tmp_path)


def test_other_files_have_no_place_among_masks():
    for wanted in ("overlays", "probabilities", "confidence"):
        with pytest.raises(InputError, match=r"^as_labels=True: expected it alone"):
            Outputs(as_labels=True, **{wanted: True})
