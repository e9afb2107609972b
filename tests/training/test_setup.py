"""What a config makes of the images of a dataset."""

import dataclasses

import jax
import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.setup import set_up
from tests.data.sources import noise
from tests.training.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("small_runs")


@pytest.mark.parametrize(("unlabeled", "shown"), [("rest", 28), ("all", 32)])
def test_all_images_may_go_without_their_labels(monkeypatch, unlabeled, shown):
    """The split is the same: it says whose labels are used."""
    sizes = []

    def subset(source, ids, subset=data.subset):
        sizes.append(len(ids))
        return subset(source, ids)

    monkeypatch.setattr(data, "subset", subset)
    config = tiny_config("cutmix")
    config.unlabeled = unlabeled
    setup = set_up(parse(config))
    assert sizes == [4, shown]
    assert (len(setup.split.labeled), len(setup.split.unlabeled)) == (4, 28)


def test_with_all_labels_too():
    config = tiny_config("cutmix")
    config.labels = "1"
    assert set(set_up(parse(config)).batches[0]) == {"labeled"}
    config.unlabeled = "all"
    assert set(set_up(parse(config)).batches[0]) == {"labeled", "unlabeled"}


@pytest.mark.parametrize(("unlabeled", "shown"), [("rest", 28 + 5), ("all", 32 + 5)])
def test_images_without_masks_are_never_labelled(monkeypatch, unlabeled, shown):
    whole = data.load("scenes")
    splits = {**whole.splits, data.UNLABELED: noise(5)}
    monkeypatch.setattr(data, "load", lambda *_: data.Dataset(whole.info, splits))
    read = []

    def train_batches(*sources, train_batches=data.train_batches, **options):
        read.extend(sources)
        return train_batches(*sources, **options)

    monkeypatch.setattr(data, "train_batches", train_batches)
    config = tiny_config("cutmix")
    config.unlabeled = unlabeled
    split = set_up(parse(config)).split
    assert len(split.labeled) == 4
    assert set(splits[data.UNLABELED].ids) < set(split.unlabeled)
    assert [len(source) for source in read] == [4, shown]
    assert read[1][shown - 1]["id"] == splits[data.UNLABELED].ids[-1]


def test_a_label_that_the_dataset_has_no_class_for_is_named(monkeypatch):
    """Of a dataset with an ignore label of its own, which is no such label."""
    whole = data.load("scenes")
    info = dataclasses.replace(whole.info, ignore_label=200)
    train = whole.splits["train"]

    class Masks:
        ids = train.ids
        label = 200

        def __len__(self):
            return len(train)

        def __getitem__(self, index):
            example = train[index]
            return example | {"label": np.full_like(example["label"], self.label)}

    splits = {**whole.splits, "train": Masks()}
    monkeypatch.setattr(data, "load", lambda *_: data.Dataset(info, splits))
    assert (set_up(parse(tiny_config())).batches[0]["labeled"]["label"] == 200).all()
    monkeypatch.setattr(Masks, "label", 255)
    with pytest.raises(InputError, match=r"image '.*': class id 255; expected 0 to 7 or 200"):
        next(set_up(parse(tiny_config())).batches)


def test_batches_say_what_is_filled_where_the_method_takes_it():
    plain, with_valid = {"image", "label"}, {"image", "label", "valid"}
    for method, exclude_filled, fields in (
        ("sassn", False, plain),
        ("sassn", True, with_valid),
        ("s4gan", True, plain),  # which judges whole crops
        ("cutmix", False, with_valid),
    ):
        config = tiny_config(method)
        config.loss.exclude_filled = exclude_filled
        config.crop_size, config.augment.scale = (64, 112), (1.0, 1.0)
        batch = set_up(parse(config)).batches[config.loss.semi_start]
        assert all(half.keys() == fields for half in batch.values())
    valid = batch["unlabeled"]["valid"]  # scenes are 96 pixels wide
    assert valid[..., :96].all()
    assert not np.any(valid[..., 96:])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the kernels may run here")
def test_attention_that_cannot_run_here_is_refused_before_anything_is_written(workdir):
    config = tiny_config("sa")
    config.model.attention_implementation = "triton"
    with pytest.raises(
        InputError, match=r"model\.attention_implementation='triton': cannot be used"
    ):
        train_and_evaluate(config, workdir)
    assert not workdir.exists()
