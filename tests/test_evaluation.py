"""Scoring whole images: every pixel counted once, and few programs compiled."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import programs
from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.errors import InputError
from sassn_jax.evaluation import evaluate
from sassn_jax.inference import Inference
from tests.test_inference import naive_resize

CLASSES = 4
INFO = DatasetInfo("toy", ("a", "b", "c", "d"), np.zeros((CLASSES, 3), np.uint8))
SIZES = [(5, 7), (6, 4), (5, 7), (5, 7), (3, 3), (6, 4), (5, 7)]
SCORES = np.random.default_rng(4).normal(size=(3, CLASSES)).astype(np.float32)


class Toy:
    """Images whose first channel is a class id in places and noise elsewhere."""

    def __init__(self, sizes):
        rng = np.random.default_rng(0)
        self.examples = []
        for i, size in enumerate(sizes):
            label = rng.integers(0, CLASSES, size).astype(np.uint8)
            image = np.zeros((*size, 3), np.uint8)
            noise = rng.integers(0, CLASSES, size)
            image[..., 0] = np.where(rng.uniform(size=size) < 0.6, label, noise)
            label[rng.uniform(size=size) < 0.2] = 255
            self.examples.append({"image": image, "label": label, "id": str(i)})

    @property
    def ids(self):
        return [example["id"] for example in self.examples]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]


def read_off(variables, images):
    """Takes the first channel for the class; `variables` undoes the normalization."""
    classes = jnp.round(images[..., 0] * variables["std"] + variables["mean"]).astype(jnp.int32)
    return jax.nn.one_hot(classes, CLASSES)


NORMALIZE = Normalize(mean=(2.0, 0.0, 0.0), std=(3.0, 1.0, 1.0))
VARIABLES = {"std": 3.0, "mean": 2.0}


def score(source, batch_size=2, predict=read_off, info=INFO, **options):
    return evaluate(
        predict,
        VARIABLES,
        source,
        info,
        normalize=NORMALIZE,
        batch_size=batch_size,
        **options,
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_counts_every_labelled_pixel_once(batch_size):
    source = Toy(SIZES)
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for example in source.examples:
        for pixel in np.ndindex(example["label"].shape):
            if example["label"][pixel] != 255:
                expected[example["label"][pixel], example["image"][pixel][0]] += 1
    np.testing.assert_array_equal(score(source, batch_size).counts, expected)


def test_order_of_images_does_not_matter():
    source, backwards = Toy(SIZES), Toy(SIZES)
    backwards.examples.reverse()
    np.testing.assert_array_equal(score(source).counts, score(backwards).counts)


def test_compiles_once_for_each_size_of_image():
    """A last batch that is not full is padded rather than compiled anew."""
    traced = []

    @jax.jit
    def predict(variables, images):
        traced.append(images.shape)
        return read_off(variables, images)

    score(Toy(SIZES), batch_size=3, predict=predict)
    assert sorted(traced) == [(3, 3, 3, 3), (3, 5, 7, 3), (3, 6, 4, 3)]


def test_tells_which_images_are_done():
    told = []
    score(Toy(SIZES), batch_size=3, on_batch=lambda batch, _: told.extend(batch.indices))
    assert sorted(told) == list(range(len(SIZES)))


@pytest.mark.parametrize("fields", [{}, {"pad_to": (8, 8)}, {"scales": (1.0, 1.0)}], ids=str)
def test_tells_what_is_predicted_of_an_image(fields):
    """At its place in a batch of images that are padded, or of one size."""
    source, seen = Toy(SIZES), {}

    def keep(batch, probabilities):
        for place, index in enumerate(batch.indices):
            height, width = batch.label_sizes.images[place]
            seen[index] = np.asarray(probabilities)[place, :height, :width]

    score(source, batch_size=3, inference=Inference(**fields), on_batch=keep)
    assert len(seen) == len(SIZES)
    for index, probabilities in seen.items():
        classes = source[index]["image"][..., 0]
        np.testing.assert_array_equal(probabilities.argmax(-1), classes)


@pytest.mark.parametrize(
    ("wrong", "dtype", "ignore_label"),
    [(CLASSES, "uint8", 255), (254, "uint8", 255), (255, "uint8", 100), (-1, "int32", 255)],
)
def test_a_label_outside_the_classes_is_an_error(wrong, dtype, ignore_label):
    source, info = Toy(SIZES), dataclasses.replace(INFO, ignore_label=ignore_label)
    for example in source.examples:
        example["label"][example["label"] == 255] = ignore_label
    scored = score(source, info=info)
    np.testing.assert_array_equal(scored.counts, score(Toy(SIZES)).counts)
    label = source.examples[4]["label"].astype(dtype)
    label[-1, -1] = wrong
    source.examples[4]["label"] = label
    with pytest.raises(InputError) as error:
        score(source, info=info)
    assert str(error.value) == (
        f"image '4': class id {wrong}; expected 0 to 3 or {ignore_label} (ignore); "
        f"correct the mask or the classes (1 of {label.size} pixels)"
    )


def test_no_images():
    matrix = score(Toy([]))
    assert matrix.counts.shape == (CLASSES, CLASSES)
    assert not matrix.counts.any()


PROTOCOLS = [
    {"pad_to": (6, 7)},
    {"pad_to": (4, 5)},  # smaller than some images, which keep their own size
    {"mirror": True},
    {"window": (4, 3), "stride": (2, 3)},
    {"window": (4, 4), "stride": (3, 1), "pad_to": (6, 7), "mirror": True},
]


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("fields", PROTOCOLS, ids=str)
def test_what_is_shown_otherwise_is_counted_the_same(fields, batch_size):
    """A network that looks at nothing but a pixel says the same of it in every view."""
    same = score(Toy(SIZES), batch_size, inference=Inference(**fields))
    np.testing.assert_array_equal(same.counts, score(Toy(SIZES)).counts)


@pytest.mark.parametrize("fields", [{}, *PROTOCOLS], ids=str)
def test_an_image_without_labels_counts_for_nothing(fields):
    source, with_another = Toy(SIZES), Toy([*SIZES, (5, 7), (2, 9)])
    for example in with_another.examples[len(SIZES) :]:
        example["label"][:] = 255
    inference = Inference(**fields)
    np.testing.assert_array_equal(
        score(with_another, inference=inference).counts, score(source, inference=inference).counts
    )
    with_another.examples = with_another.examples[len(SIZES) :]
    assert not score(with_another, inference=inference).counts.any()


@pytest.mark.parametrize("fields", [{}, *PROTOCOLS], ids=str)
def test_a_class_that_does_not_occur_has_no_iou(fields):
    """Padding looks like class 2 to the network here: it must not be counted as predicted."""
    source = Toy(SIZES)
    for example in source.examples:
        example["label"][example["label"] == 2] = 255
        example["image"][example["image"] == 2] = 3
    matrix = score(source, inference=Inference(**fields))
    assert np.isnan(matrix.iou()).tolist() == [False, False, True, False]
    assert matrix.miou() == pytest.approx(np.delete(matrix.iou(), 2).mean())


@pytest.mark.parametrize(
    ("fields", "shapes"),
    [
        ({"pad_to": (6, 7)}, [(3, 6, 7, 3)]),
        ({"pad_to": (6, 7), "mirror": True}, [(3, 6, 7, 3)]),
        ({"pad_to": (6, 7), "scales": (0.5, 1.0, 2.0)},
         [(3, 3, 4, 3), (3, 6, 7, 3), (3, 12, 14, 3)]),
        ({"window": (4, 5), "stride": (2, 3)}, [(3, 4, 5, 3)]),
        ({"window": (4, 5), "stride": (2, 3), "scales": (0.5, 1.0, 2.0), "mirror": True},
         [(3, 4, 5, 3)]),
    ],
)  # fmt: skip
def test_compiles_once_for_each_shape(fields, shapes):
    traced = []

    @jax.jit
    def predict(variables, images):
        traced.append(images.shape)
        return read_off(variables, images)

    score(Toy(SIZES), batch_size=3, predict=predict, inference=Inference(**fields))
    assert traced == shapes


def test_images_of_many_sizes_take_bounded_memory(monkeypatch):
    """A program for each size of image would be kept for as long as there is memory."""
    monkeypatch.setattr(programs, "KEPT", 4)

    def count_programs(first: int, last: int) -> int:
        source = Toy([(2, size) for size in range(first, last)])
        score(source, 1, predict=predict, inference=inference)
        return len(jax.devices()[0].client.live_executables())

    inference = Inference(window=(2, 2), stride=(1, 1), mirror=True)
    predict = programs.jit_by_shape(read_off)
    after_some = count_programs(2, 10)
    assert count_programs(10, 14) <= after_some


@pytest.mark.parametrize(
    ("fields", "before", "after"),
    [
        ({"pad_to": (11, 13)}, [(5, 7), (6, 4)], [(11, 3), (9, 9), (1, 13), (2, 2)]),
        ({"window": (5, 6), "stride": (4, 5)}, [(8, 15)], [(5, 11), (7, 14), (8, 15)]),
    ],
)
def test_images_of_new_sizes_compile_nothing(fields, before, after):
    """Neither the network nor what surrounds it, down to single operations."""
    inference = Inference(**fields, scales=(0.5, 1.0), mirror=True)
    predict = jax.jit(read_off)
    compiled = []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        score(Toy(before), predict=predict, inference=inference)
        assert compiled
        compiled.clear()
        score(Toy(after), predict=predict, inference=inference)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def test_windows_take_one_image_at_a_time():
    """All classes of several large images would not fit in memory."""
    told = []
    inference = Inference(window=(4, 5), stride=(2, 3))
    score(
        Toy(SIZES),
        batch_size=3,
        on_batch=lambda batch, _: told.append(batch.indices),
        inference=inference,
    )
    assert sorted(told) == [(index,) for index in range(len(SIZES))]


@pytest.mark.parametrize("fields", [{}, {"pad_to": (9, 9)}, {"mirror": True}], ids=str)
def test_scores_at_the_size_of_the_label(fields):
    """The image may be of another size, as where halved images have their full labels."""
    rng = np.random.default_rng(3)
    source = Toy([(9, 12), (7, 8), (9, 12)])
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for example in source.examples:
        height, width = example["label"].shape
        example["image"] = rng.integers(0, 9, (height // 2, width // 2, 3), np.uint8)
        scores = example["image"] @ SCORES
        guess = naive_resize(scores, (height, width), aligned=True).argmax(-1)
        valid = example["label"] != 255
        np.add.at(expected, (example["label"][valid], guess[valid]), 1)
    matrix = evaluate(
        lambda variables, images: images @ SCORES,
        None,
        source,
        INFO,
        normalize=Normalize(),
        batch_size=2,
        inference=Inference(**fields),
    )
    np.testing.assert_array_equal(matrix.counts, expected)
