import numpy as np
import pytest

from sassn_jax.conversion.exporting import read_export, write_export
from sassn_jax.data import scenes
from sassn_jax.errors import InputError
from sassn_jax.weights import store

CONFIG = {
    "dataset": "scenes",
    "data_dir": "/home/me/data",
    "labels": "/home/me/ids.txt",
    "model": {"backbone": "resnet_tiny", "layout": "caffe", "weights": "/home/me/r.safetensors"},
    "image": {"channel_order": "bgr", "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
}
VARIABLES = {"params": {"head": {"bias": np.arange(3, dtype=np.float32)}}}
INFO = scenes.load().info


def test_what_was_written_is_read_without_places_on_this_machine(tmp_path):
    path = tmp_path / "model.safetensors"
    about = write_export(path, VARIABLES, config=CONFIG, info=INFO, step=7)
    assert store.read_about(path)["classes"]["names"] == list(INFO.class_names)
    exported = read_export(path)
    np.testing.assert_array_equal(
        exported.variables["params"]["head"]["bias"], VARIABLES["params"]["head"]["bias"]
    )
    assert exported.config == about["config"]
    assert exported.config == {
        **CONFIG,
        "data_dir": "",
        "source": "",
        "labels": "./ids.txt",
        "model": {**CONFIG["model"], "weights": ""},
    }
    assert (exported.info.name, exported.info.class_names) == ("scenes", INFO.class_names)
    assert exported.step == 7
    assert b"/home/me" not in path.read_bytes()


@pytest.mark.parametrize(
    ("labels", "written"), [("1/8", "1/8"), ("1", "1"), ("runs/1", "./1"), ("ids.txt", "./ids.txt")]
)
def test_a_fraction_of_labels_stays_and_a_file_loses_its_folder(tmp_path, labels, written):
    path = tmp_path / "model.safetensors"
    config = {**CONFIG, "labels": labels}
    about = write_export(path, VARIABLES, config=config, info=INFO, step=1)
    assert about["config"]["labels"] == written


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "trunk.safetensors"
    about = write_export(path, VARIABLES, config=CONFIG, info=INFO, step=7)
    for field, message in (
        ("config", "has no config of a run; expected a file of `sassn export`"),
        ("step", "has no config of a run"),
        ("model", "not written by `sassn import_weights` or `sassn export`"),
    ):
        store.write(path, VARIABLES, {name: x for name, x in about.items() if name != field})
        with pytest.raises(InputError, match=rf"trunk\.safetensors: .*{message}"):
            read_export(path)
    store.write(path, VARIABLES, {**about, "classes": {"names": ["a"]}})
    with pytest.raises(InputError, match="expected JSON of classes"):
        read_export(path)
