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
def test_a_third_at_most_shows_no_fewer_classes_than_any_two_images_could(seed):
    """All choices of one and of two images are tried. A greedy choice may miss the best of two."""
    rng = np.random.default_rng(seed)
    classes = {str(i): set(rng.choice(5, rng.integers(1, 4), False).tolist()) for i in range(8)}

    def shown(ids):
        return set(itertools.chain(*(classes[id_] for id_ in ids)))

    def is_allowed(ids):
        return shown(set(classes) - set(ids)) == shown(classes)

    chosen = choose_validation(classes)
    assert 1 <= len(chosen) <= 2
    assert is_allowed(chosen)
    one, two = (
        max(len(shown(ids)) for ids in itertools.combinations(classes, n) if is_allowed(ids))
        for n in (1, 2)
    )
    assert len(shown(chosen)) >= max(one, two - 1)


def test_no_more_than_a_fifth_is_chosen_where_that_shows_all_classes():
    classes = {str(i): {0, 1, 2} if i % 2 else {i % 3} for i in range(20)}
    assert len(choose_validation(classes)) == 4
    classes = {str(i): {i % 10} for i in range(20)}  # a third, 6 images, show 6 of 10 classes
    assert len(choose_validation(classes)) == 6


def test_a_class_of_few_images_is_in_both_splits_and_one_of_one_image_is_trained_on():
    classes = {f"{i:03}": {0, 1} for i in range(50)}
    classes |= {"007": {0, 2}, "031": {0, 2}, "011": {3}}
    chosen = choose_validation(classes)
    in_val = set(itertools.chain(*(classes[id_] for id_ in chosen)))
    assert in_val == {0, 1, 2}
    assert len({"007", "031"} & set(chosen)) == 1
