"""Lists, and files of JSON: of a dataset, of a run's folder and of predictions."""

import json
from pathlib import Path
from types import SimpleNamespace

from tests.fuzzing import mutations
from tests.fuzzing.pictures import CLASSES, COLORS


def lists(folder: Path) -> None:
    (folder / "train.txt").write_text("a\nfolder/b.jpg\n\nimages/c.png labels/c.png\n")


def read_ids(path: Path) -> None:
    from sassn_jax.data.splits import choose_labeled

    choose_labeled(("a", "folder/b", "c"), str(path), 0)


def class_lists(folder: Path) -> None:
    (folder / "classes.txt").write_text("ignore 0 0 0\nroad 128 64 128\ncar:1,2,3::\n")
    (folder / "names.txt").write_text("background\nroad\ncar\n")


def read_classes_txt(path: Path) -> None:
    from sassn_jax.data.class_list import read_class_list

    found = read_class_list(path)
    str((found.names, found.colors, found.notes))


def splits_json(folder: Path) -> None:
    split = {"labeled": ["a", "b"], "unlabeled": ["c"], "fingerprint": "0123"}
    (folder / "split.json").write_text(json.dumps(split))


def read_split(path: Path) -> None:
    from sassn_jax.data import read_split

    hash(read_split(path))


def classes_json(folder: Path) -> None:
    classes = {"names": list(CLASSES), "palette": [list(x) for x in COLORS], "ignore_label": 255}
    (folder / "classes.json").write_text(json.dumps(classes))


def read_classes(path: Path) -> None:
    from sassn_jax.data import read_classes

    str(read_classes(path, "folder").mask_palette)


def workdirs(folder: Path) -> None:
    from sassn_jax.recipes import default_config

    config = default_config("sassn", dataset="folder", source="photos", labels="1/8").to_dict()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "lengths.json").write_text("[20000, 30000]")
    (folder / "command.txt").write_text("sassn train --config=configs/scenes.py\n")


def change_workdir(content: bytes, rng: object) -> bytes:
    is_text = content.startswith(b"sassn")
    change = mutations.any_text if is_text else mutations.any_json
    return change(content, rng)


def read_workdir(path: Path) -> None:
    from sassn_jax.recipes import override
    from sassn_jax.training.binding import binding
    from sassn_jax.training.workdir import Workdir

    folder = Workdir(path.parent)
    config = folder.read_config()
    binding(override(config, {"model.weights": ""}))
    folder.read_lengths()
    folder.read_command()


def results(folder: Path) -> None:
    settings = {"network": "0123", "step": 3, "eval": {"mirror": False}, "threshold": 0.0}
    (folder / "predict.json").write_text(json.dumps(settings))


def read_results(path: Path) -> None:
    from sassn_jax.inference import Inference
    from sassn_jax.prediction.files import _begin
    from sassn_jax.prediction.outputs import IDS_ALONE

    config = SimpleNamespace(eval=Inference())
    run = SimpleNamespace(fingerprint="0123", step=3, config=config)
    _begin(run, [], path.parent, IDS_ALONE, lambda note: None)
