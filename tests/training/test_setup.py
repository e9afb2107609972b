"""What a config makes of the images of a dataset."""

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.training.setup import set_up
from tests.training.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("few_images")


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
    setup = set_up(config)
    assert sizes == [4, shown]
    assert (len(setup.split.labeled), len(setup.split.unlabeled)) == (4, 28)


def test_with_all_labels_too():
    config = tiny_config("cutmix")
    config.labels = "1"
    assert set(set_up(config).batches[0]) == {"labeled"}
    config.unlabeled = "all"
    assert set(set_up(config).batches[0]) == {"labeled", "unlabeled"}


def test_batches_say_what_is_filled_where_the_method_takes_it():
    for method, fields in (("sassn", {"image", "label"}), ("cutmix", {"image", "label", "valid"})):
        config = tiny_config(method)
        config.crop_size, config.augment.scale = (64, 112), (1.0, 1.0)
        batch = set_up(config).batches[config.loss.semi_start]
        assert all(half.keys() == fields for half in batch.values())
    valid = batch["unlabeled"]["valid"]  # scenes are 96 pixels wide
    assert valid[..., :96].all()
    assert not np.any(valid[..., 96:])
