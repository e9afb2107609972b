"""Training straight from a folder of one's own images."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import folder as recipe
from sassn_jax import data
from sassn_jax.data.proposals import proposal_mark
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse
from sassn_jax.training.introduction import introduce, without_unlabeled
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.setup import set_up
from tests.training.conftest import tiny_config

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"


@pytest.fixture
def photos(tmp_path):
    """A folder of 12 images of 3 classes, 10 of them with a mask."""
    root = tmp_path / "my photos"
    for kind in ("images", "labels"):
        (root / kind / "sub dir").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(12):
        name = f"sub dir/größe {i}" if i % 2 else f"photo {i}"
        label = np.full((66 + i // 2, 90), i % 3, np.uint8)
        label[:9] = 0
        image = rng.integers(0, 20, (*label.shape, 3), np.uint8) + np.uint8(90) * label[..., None]
        Image.fromarray(image).save(root / "images" / f"{name}.png")
        if i < 10:
            Image.fromarray(label).save(root / "labels" / f"{name}.png")
    return root


def tiny(config):
    config.update_from_flattened_dict({"model.backbone": "resnet_tiny", "num_steps": 3})
    config.update_from_flattened_dict({"crop_size": (48, 64), "loss.semi_start": 0})
    return config


def test_a_folder_needs_nothing_else(photos, workdir, small_runs, tiny_networks, capsys):
    config = tiny(recipe.get_config(f"path={photos},method=supervised"))
    train_and_evaluate(config, workdir)
    said = capsys.readouterr()
    said = said.out + said.err
    assert "3 classes: class_0, class_1, class_2; images with masks: 8 to train on" in said
    assert "2 for validation; 2 without" in said
    assert "crop_size=(48, 64), batch_size=8, num_steps=3 (3 passes over" in said
    assert "no pretrained weights: the network starts from random numbers" in said
    written = json.loads((workdir / "config.json").read_text())
    assert written["eval"]["window"] == [48, 64]
    assert written["eval"]["stride"] == [32, 42]
    split = data.read_split(workdir / "split.json")
    lists = {path.stem: path.read_text().splitlines() for path in (workdir / "lists").iterdir()}
    assert lists["train"] == list(split.labeled)
    assert lists["unlabeled"] == list(split.unlabeled) == ["photo 10", "sub dir/größe 11"]
    # As lists of the folder they give the same splits again.
    for name, ids in lists.items():
        (photos / f"{name}.txt").write_text("\n".join(ids))
    again = data.load("folder", source=photos)
    assert {name: list(one.ids) for name, one in again.splits.items()} == lists


def test_a_run_says_which_masks_are_proposed_and_that_no_image_is_left(
    photos, small_runs, tiny_networks
):
    for name in ("photo 10", "sub dir/größe 11"):
        Image.new("P", (90, 71)).save(photos / "labels" / f"{name}.png", pnginfo=proposal_mark())
    config = parse(tiny(recipe.get_config(f"path={photos},method=sassn")))
    setup = set_up(config)
    assert any(line.startswith("2 of 10 training masks were proposed") for line in introduce(setup))
    assert "proposed masks you take out of labels/ are unlabelled" in without_unlabeled(setup)
    everything = set_up(dataclasses.replace(config, unlabeled="all"))
    assert without_unlabeled(everything) == ""


def test_the_recipe_is_fitted_to_the_images(photos):
    config = recipe.get_config(f"path={photos}")
    assert (config.source, config.labels) == (str(photos), "1")
    assert config.crop_size == (65, 89)  # of about 69 and 90 pixels, in steps of 8
    assert config.batch_size == 8
    assert (config.num_steps, config.loss.semi_start) == (2000, 500)
    pixels = [np.asarray(Image.open(path)) for path in (photos / "images").rglob("*.png")]
    # Without the two images of validation, which the survey has not chosen yet.
    np.testing.assert_allclose(config.image.mean, np.mean([x.mean((0, 1)) for x in pixels]), atol=9)
    for path in sorted((photos / "labels").rglob("*.png"))[5:]:
        path.unlink()
    assert recipe.get_config(f"path={photos}").batch_size == 4
    shutil.rmtree(photos / "images")
    assert recipe.get_config(f"path={photos}").crop_size == (321, 321)  # `prepare` will say so


def test_what_a_newcomer_waits_for_is_said(photos, small_runs):
    config = recipe.get_config(f"path={photos},method=sassn")
    said = " ".join(introduce(set_up(parse(config))))
    assert "images without masks take part from step 500 on" in said
    assert "on a CPU a resnet101 takes many seconds a step" in said
    config.loss.adv_from_start, config.model.backbone = True, "resnet_tiny"
    said = " ".join(introduce(set_up(parse(config))))
    assert "take part" not in said
    assert "On a laptop" not in said


def test_many_masks_get_the_steps_of_the_paper():
    config = recipe.get_config("method=mittal")
    recipe.fit(config, data.Survey(1322, (375, 500), (1.0, 2.0, 3.0)))
    assert config.num_steps == pytest.approx(40_000, rel=0.01)
    assert config.crop_size == (321, 321)
    recipe.fit(config, data.Survey(1, (20, 40_000), (1.0, 2.0, 3.0)))
    assert (config.crop_size, config.batch_size) == ((33, 321), 2)
    assert parse(config).eval.window == (33, 321)


def test_the_window_follows_the_crop_unless_it_is_set():
    config = recipe.get_config()
    config.crop_size = (97, 97)
    assert parse(config).eval.window == (97, 97)
    assert parse(config).eval.stride == (64, 64)
    config.crop_size = (96,)  # and not the window, which nobody has typed, is named
    with pytest.raises(InputError, match=r"^crop_size=\(96,\): expected height and width"):
        parse(config)
    config.crop_size = (97, 97)
    config.eval.window = (129, 161)
    assert parse(config).crop_size == (97, 97)
    assert parse(config).eval.window == (129, 161)
    assert parse(config).eval.stride == (86, 107)


def test_data_that_are_known_need_no_introduction(small_runs, tiny_networks):
    assert introduce(set_up(parse(tiny_config()))) == ()


@pytest.fixture(scope="module")
def camvid_twice(tmp_path_factory):
    """Some of CamVid; and a plain folder of the same images with 45 of its training masks."""
    if not CAMVID.is_dir():
        pytest.skip("needs ../shared/data/camvid")
    root = tmp_path_factory.mktemp("camvid")
    published, plain = root / "published", root / "plain"
    for folder in (published, plain):
        (folder / "labels").mkdir(parents=True)
    labeled = CAMVID / "labeled_1_8.txt"
    train, val, test = ((CAMVID / f"{x}.txt").read_text().split() for x in ("train", "val", "test"))
    unlabeled = [id_ for id_ in train if id_ not in labeled.read_text().split()]
    train = [id_ for id_ in train if id_ not in unlabeled[15:]]
    ids = {"train": train, "val": val[:2], "test": test[:2]}
    masks = {*labeled.read_text().split(), *ids["val"], *ids["test"]}
    for folder in (published, plain):
        (folder / "images").mkdir()
        shutil.copy(CAMVID / "classes.txt", folder)
        for split, of_split in ids.items():
            if folder is published or split != "train":
                (folder / f"{split}.txt").write_text("\n".join(of_split))
            for id_ in of_split:
                image = next((CAMVID / "images").glob(f"{id_}.*"))
                (folder / "images" / image.name).symlink_to(image)
                if folder is published or id_ in masks:
                    name = f"labels/{id_}.png"
                    (folder / name).symlink_to(CAMVID / name)
    links = data.FileLimits(follow_links=True)
    data.prepare("camvid", published, root / "data", limits=links)

    def config(dataset):
        config = tiny(tiny_config())
        config.dataset = dataset
        config.labels = str(labeled) if dataset == "camvid" else "1"
        config.data_dir = str(root / "data")
        config.source = str(plain) if dataset == "folder" else ""
        config.files.follow_links = True
        return config

    return config("camvid"), config("folder")


def test_a_plain_folder_gives_the_batches_of_camvid_to_the_bit(camvid_twice, small_runs):
    one, other = (set_up(parse(config)) for config in camvid_twice)
    assert len(one.split.labeled) == 45
    assert one.split[:2] == other.split[:2]
    for step in range(3):
        a, b = one.batches[step], other.batches[step]
        assert "unlabeled" in a
        assert a.keys() == b.keys()
        np.testing.assert_array_equal(a["labeled"]["label"], b["labeled"]["label"])
        for half in a:
            np.testing.assert_array_equal(a[half]["image"], b[half]["image"])
    for split in ("val", "test"):
        assert one.dataset.splits[split].ids == other.dataset.splits[split].ids
        for a, b in zip(one.dataset.splits[split], other.dataset.splits[split], strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["label"], b["label"])


def test_a_plain_folder_reaches_the_score_of_camvid_to_the_bit(
    camvid_twice, workdir, small_runs, tiny_networks
):
    scores = []
    for config in camvid_twice:
        train_and_evaluate(config, workdir / config.dataset)
        scores.append(json.loads((workdir / config.dataset / "eval_val.json").read_text()))
    assert scores[0] == scores[1]
    assert scores[0]["miou"] > 0
