"""Batches of the pipeline have the shapes and dtypes of `batch_spec`."""

import jax
import numpy as np
import pytest

from sassn_jax.data import TrainTransform, batch_spec, train_batches
from tests.data.sources import noise


@pytest.mark.parametrize("valid", [False, True])
@pytest.mark.parametrize("unlabeled", [False, True])
def test_the_pipeline_makes_batches_as_described(unlabeled, valid):
    batches = train_batches(
        noise(6),
        noise(6) if unlabeled else None,
        transform=TrainTransform((16, 24), mark_filled=valid),
        batch_size=4,
        seed=0,
    )
    expected = batch_spec(jax.ShapeDtypeStruct, 4, (16, 24), unlabeled=unlabeled, valid=valid)
    made = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batches[0])
    assert made == expected


def test_a_batch_may_be_of_zeros():
    batch = batch_spec(np.zeros, 2, (3, 4), unlabeled=True)
    assert batch["unlabeled"]["image"].shape == (2, 3, 4, 3)
    assert not batch["labeled"]["label"].any()
