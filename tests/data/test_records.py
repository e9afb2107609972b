"""Prepared datasets, with a layout of images in memory."""

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sassn_jax.data import records, records_builder
from sassn_jax.data.images import encode_png
from sassn_jax.data.layout import Layout, checksum
from sassn_jax.errors import InputError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Numbered(Layout):
    """The pixels of image number i are all i."""

    train: int = 5
    class_names: tuple[str, ...] = ("one", "two")
    source: Path = Path("no such folder")

    @property
    def splits(self):
        return {"train": tuple(f"image_{i}" for i in range(self.train)), "val": ("image_9",)}

    def paths(self, split, id_):
        return self.source / f"{id_}.png", self.source / f"{id_}_mask.png"

    def read(self, split, id_):
        assert id_ in self.splits[split]
        image = np.full((3, 4, 3), int(id_[-1]), np.uint8)
        return encode_png(image), encode_png(image[..., 0])


def load(data_dir):
    return records.load("numbered", data_dir, {"one": (1, 2, 3)})


def numbers(source):
    return [(source[i]["id"], int(source[i]["image"].max())) for i in range(len(source))]


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("shard_length", [1, 2, 5])
def test_images_keep_their_order_over_several_files(tmp_path, monkeypatch, shard_length):
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", shard_length)
    assert records.prepare("numbered", Numbered(), tmp_path)
    train = load(tmp_path).splits["train"]
    assert numbers(train) == [(f"image_{i}", i) for i in range(5)]
    assert len(list(tmp_path.rglob("*-train.array_record*"))) == -(-5 // shard_length)


def test_a_split_of_any_size_is_written_without_tensorflow(tmp_path, monkeypatch):
    # TFDS sorts larger splits with TensorFlow.
    from tensorflow_datasets.core import shuffle

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    assert records.prepare("numbered", Numbered(), tmp_path)
    assert numbers(load(tmp_path).splits["val"]) == [("image_9", 9)]
    assert "tensorflow" not in sys.modules


def test_names_are_known_without_reading_an_image(tmp_path, monkeypatch):
    records.prepare("numbered", Numbered(), tmp_path)
    train = load(tmp_path).splits["train"]
    monkeypatch.setattr(train, "_records", None)
    assert train.ids == Numbered().splits["train"]


def test_classes_without_a_colour_of_their_own_have_vocs(tmp_path):
    records.prepare("numbered", Numbered(), tmp_path)
    info = load(tmp_path).info
    assert info.class_names == ("one", "two")
    assert info.palette.tolist() == [[1, 2, 3], [0, 128, 0]]


def stop_at(number):
    def progress(done, total):
        if done == number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("number", "left"), [(1, []), (4, []), (6, [".numbered_checked"])])
def test_a_stopped_run_can_be_run_again(tmp_path, number, left):
    """It leaves only whole checked parts: 5 of 6 images, those for training."""
    data_dir = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        records.prepare("numbered", Numbered(), data_dir, stop_at(number))
    assert [path.name for path in data_dir.glob("*")] == left
    assert len(files(tmp_path)) == len(left)
    assert records.prepare("numbered", Numbered(), data_dir)
    assert numbers(load(data_dir).splits["train"]) == [(f"image_{i}", i) for i in range(5)]
    assert [path.name for path in data_dir.iterdir()] == ["numbered"]


@pytest.mark.parametrize("change", ["nothing", "a mask", "the list"])
def test_what_has_been_checked_is_not_checked_again_unless_it_changed(
    tmp_path, monkeypatch, change
):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    source.mkdir()
    layout = Numbered(source=source)
    for split, ids in layout.splits.items():
        for path in (path for id_ in ids for path in layout.paths(split, id_)):
            path.write_text("1")
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 2)  # parts of 2, 2 and 1, and 1
    with pytest.raises(KeyboardInterrupt):
        records.prepare("numbered", layout, data_dir, stop_at(5))

    if change == "a mask":
        (source / "image_1_mask.png").write_text("12")
    if change == "the list":
        layout = Numbered(4, source=source)
    read, told = [], []
    monkeypatch.setattr(
        Numbered,
        "read",
        lambda self, split, id_, read_=Numbered.read: read.append(id_) or read_(self, split, id_),
    )
    records.prepare("numbered", layout, data_dir, lambda *counts: told.append(counts))
    anew = {"nothing": ["image_4", "image_9"], "the list": ["image_9"]}
    assert read == anew.get(change, ["image_0", "image_1", "image_4", "image_9"])
    total = layout.train + 1
    assert told == [(done, total) for done in range(1, total + 1)]
    train = load(data_dir).splits["train"]
    assert numbers(train) == [(f"image_{i}", i) for i in range(layout.train)]


@dataclass(frozen=True)
class Failing(Numbered):
    """Fails at the image of the validation split."""

    error: Exception = field(default_factory=lambda: InputError("image_9: wrong"))
    read_ids: list = field(default_factory=list)

    def read(self, split, id_):
        if split == "val":
            raise self.error
        self.read_ids.append(id_)
        return super().read(split, id_)


def test_after_a_wrong_file_what_was_checked_in_full_parts_is_not_checked_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 2)  # parts of 2, 2 and 1, and 1
    for expected in ([0, 1, 2, 3, 4], [4], [4]):
        layout = Failing()
        with pytest.raises(InputError, match="image_9: wrong"):
            records.prepare("numbered", layout, tmp_path / "data")
        assert layout.read_ids == [f"image_{i}" for i in expected]
        assert [path.name for path in (tmp_path / "data").iterdir()] == [".numbered_checked"]
        assert len(files(tmp_path)) == 2
    assert records.prepare("numbered", Numbered(), tmp_path / "data")
    assert numbers(load(tmp_path / "data").splits["train"]) == [(f"image_{i}", i) for i in range(5)]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["numbered"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("a mistake of ours")]
)
def test_after_another_error_nothing_stays_and_it_is_told_as_it_is(tmp_path, monkeypatch, error):
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 2)
    with pytest.raises(type(error), match=str(error.args[-1])) as caught:
        records.prepare("numbered", Failing(error=error), tmp_path / "data")
    assert "cannot be written" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_two_do_not_prepare_the_same_dataset_at_once(tmp_path):
    refused = []

    def prepare_too(done, total):
        with pytest.raises(InputError, match="numbered: another process is preparing it; wait"):
            records.prepare("numbered", Numbered(), tmp_path)
        refused.append(done)
        if done == 1:  # another one may
            assert records.prepare("other", Numbered(1), tmp_path)

    assert records.prepare("numbered", Numbered(), tmp_path, prepare_too)
    assert refused == [1, 2, 3, 4, 5, 6]
    assert numbers(load(tmp_path).splits["val"]) == [("image_9", 9)]
    assert not list(tmp_path.rglob(".lock"))


KILLED = """
import os, signal, sys
from sassn_jax.data import records
from tests.data.test_records import Numbered

def progress(done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

records.prepare("numbered", Numbered(), sys.argv[1], progress)
"""


def test_what_a_killed_run_wrote_is_not_read_and_goes_with_the_next(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any("incomplete" in str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(InputError, match="holds no prepared numbered"):
        load(tmp_path)
    assert records.prepare("numbered", Numbered(), tmp_path)
    assert len(load(tmp_path).splits["train"]) == 5
    assert not any("incomplete" in str(path) for path in tmp_path.rglob("*"))


def test_another_dataset_in_the_same_folder_stays(tmp_path):
    records.prepare("other", Numbered(3), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        records.prepare("numbered", Numbered(), tmp_path, stop_at(2))
    assert len(records.load("other", tmp_path, {}).splits["train"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_source_with_other_images_is_refused(tmp_path):
    records.prepare("numbered", Numbered(), tmp_path)
    with pytest.raises(InputError, match="holds numbered from a source with other classes, images"):
        records.prepare("numbered", Numbered(4), tmp_path)


def shard(folder, split="train", number=1):
    return sorted(folder.glob(f"*-{split}.array_record-*"))[number]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def swap(a, b):
    a_content, b_content = a.read_bytes(), b.read_bytes()
    a.write_bytes(b_content)
    b.write_bytes(a_content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shard(folder).unlink(),
        lambda folder: shard(folder).write_bytes(b""),
        lambda folder: truncate(shard(folder)),
        lambda folder: shard(folder, "val", 0).unlink(),
        lambda folder: swap(shard(folder, number=0), shard(folder, number=1)),
        lambda folder: (folder / "dataset_info.json").write_text("{"),
        lambda folder: (folder / "dataset_info.json").write_text("[]"),
        lambda folder: (folder / "metadata.json").write_text("{"),
        lambda folder: (folder / "metadata.json").write_text('{"ids": 3}'),
        lambda folder: (folder / "metadata.json").unlink(),
        lambda folder: (folder / "dataset_info.json").unlink(),
        lambda folder: edit(folder / "dataset_info.json", "{DATASET}", "{DAASET}"),
        lambda folder: edit(folder / "dataset_info.json", "{SHARD_X_OF_Y}", "{SHARD_X_OF_Y"),
        lambda folder: edit(folder / "dataset_info.json", '"name": "train"', '"name": null'),
        lambda folder: edit(folder / "metadata.json", '"one",', ""),
        lambda folder: edit(folder / "metadata.json", '"one",', '"one", "three",'),
        lambda folder: edit(folder / "metadata.json", '"images": 5', '"images": -5'),
        lambda folder: edit(folder / "metadata.json", '"images": 5', '"images": null'),
        lambda folder: edit(folder / "metadata.json", '"counts"', '"count"'),
        lambda folder: edit(folder / "metadata.json", '"one"', '"onf"'),
        lambda folder: edit(folder / "metadata.json", "image_3", "image_2"),
        lambda folder: (folder / "metadata.json").write_bytes(b"\xff"),
        lambda folder: (folder / "metadata.json").write_text("[" * 100_000),
        lambda folder: shard(folder, number=2).write_bytes(shard(folder).read_bytes()),
        lambda folder: swap(shard(folder, number=0), shard(folder, "val", 0)),
    ],
)
def test_damaged_files_are_named_when_a_dataset_is_loaded(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 2)
    records.prepare("numbered", Numbered(), tmp_path)
    (folder,) = (tmp_path / "numbered").iterdir()
    damage(folder)
    with pytest.raises(InputError) as error:
        load(tmp_path)
    if (folder / "dataset_info.json").exists():
        assert str(error.value).startswith(f"{folder}/")  # and a file
    assert str(error.value).endswith(f"; remove {folder} and prepare the dataset again")
    assert "\n" not in str(error.value)
    # If the JSON files are damaged, preparing the dataset again raises the same error.
    with contextlib.suppress(InputError):
        assert not records.prepare("numbered", Numbered(), tmp_path)


def test_a_record_of_another_image_is_named_when_it_is_read(tmp_path):
    records.prepare("numbered", Numbered(), tmp_path)
    train = load(tmp_path).splits["train"]
    train.ids = ("image_0", "image_9", *train.ids[2:])
    assert train[0]["id"] == "image_0"
    with pytest.raises(
        InputError, match=r"image 'image_9' of train: image 'image_1' is in its place"
    ):
        train[1]


def test_a_folder_with_a_name_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a name in UTF-8"):
        records.prepare("numbered", Numbered(), tmp_path / "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_records_name_no_file_elsewhere_and_run_no_code(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "marker.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    records.prepare("numbered", Numbered(), tmp_path / "data")
    (folder,) = (tmp_path / "data" / "numbered").iterdir()
    (folder / "features.json").write_text('{"pythonClassName": "marker.Feature"}')
    assert numbers(load(tmp_path / "data").splits["val"]) == [("image_9", 9)]
    assert not (tmp_path / "elsewhere" / "ran").exists()
    info = folder / "dataset_info.json"
    content = info.read_text()
    for shard in folder.glob("*array_record*"):
        shard.rename(tmp_path / "elsewhere" / shard.name)
    info.write_text(content.replace('"{DATASET}-', '"../../../elsewhere/{DATASET}-'))
    assert info.read_text() != content
    with pytest.raises(InputError, match="it names files of train in other folders"):
        load(tmp_path / "data")


def test_a_split_of_another_name_is_refused(tmp_path):
    """Lists of ids are written by the names of splits."""
    records.prepare("numbered", Numbered(), tmp_path)
    (path,) = tmp_path.rglob("metadata.json")
    metadata = json.loads(path.read_text().replace('"val"', '"../val"'))
    path.write_text(json.dumps({**metadata, "checksum": checksum(metadata)}))
    with pytest.raises(InputError, match=r"metadata.json: .*it has other splits"):
        load(tmp_path)
