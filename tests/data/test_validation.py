"""The choice of validation images."""

import itertools

import numpy as np
import pytest

from sassn_jax.data.validation import choose_validation


@pytest.mark.parametrize("count", [2, 4, 5, 9, 10, 23, 101])
def test_a_fifth_is_chosen_and_at_least_one(count):
    classes = {f"image {i}": {0} for i in range(count)}
    chosen = choose_validation(classes)
    assert len(chosen) == max(1, count // 5)
    assert set(chosen) < set(classes)
    assert chosen == choose_validation(dict(reversed(classes.items())))


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="1 images: expected at least two"):
        choose_validation({"a": {0}})


@pytest.mark.parametrize("seed", range(20))
def test_as_many_classes_are_in_val_as_one_image_can_show(seed):
    """With one image to choose, every choice can be tried."""
    rng = np.random.default_rng(seed)
    classes = {str(i): set(rng.choice(5, rng.integers(1, 4), False).tolist()) for i in range(7)}
    counts = [sum(i in own for own in classes.values()) for i in range(5)]
    allowed = {id_ for id_, own in classes.items() if all(counts[i] > 1 for i in own)}
    (chosen,) = choose_validation(classes)
    most = max(len(classes[id_]) for id_ in allowed or classes)
    assert len(classes[chosen]) == most
    assert chosen in (allowed or classes)


def test_a_class_of_few_images_is_in_both_splits_and_one_of_one_image_is_trained_on():
    classes = {f"{i:03}": {0, 1} for i in range(50)}
    classes |= {"007": {0, 2}, "031": {0, 2}, "011": {3}}
    chosen = choose_validation(classes)
    in_val = set(itertools.chain(*(classes[id_] for id_ in chosen)))
    assert in_val == {0, 1, 2}
    assert len({"007", "031"} & set(chosen)) == 1
