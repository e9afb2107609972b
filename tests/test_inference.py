"""Every protocol against one image at a time, one pixel at a time, in float64."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import TrainTransform
from sassn_jax.inference import Inference, Sizes, predict_by_windows, predict_images

CLASSES = 4
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, CLASSES)).astype(np.float32)


@jax.jit
def network(kernel, images):
    """Sees its neighbours, the border, and how far right a pixel is: no view equals another."""
    logits = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    columns = jnp.arange(images.shape[2], dtype=jnp.float32)[:, None]
    return jax.nn.softmax(logits + jnp.where(jnp.arange(CLASSES) == 1, columns / 8, 0))


def naive_network(image):
    height, width, _ = image.shape
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((height, width, CLASSES))
    for i, j in np.ndindex(height, width):
        logits = np.einsum("hwc,hwcd->d", padded[i : i + 3, j : j + 3], KERNEL)
        logits[1] += j / 8
        exponents = np.exp(logits - logits.max())
        out[i, j] = exponents / exponents.sum()
    return out


def naive_resize(x, size, aligned):
    """Bilinear; `aligned` keeps the centres of corner pixels, else the image's corners."""

    def place(i, axis):
        size_in, size_out = x.shape[axis], size[axis]
        if aligned:
            at = i * (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0
        else:
            at = min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1.0)
        below = min(math.floor(at + 1e-9), size_in - 1)
        return below, min(below + 1, size_in - 1), at - below

    out = np.zeros((*size, x.shape[2]))
    for i, j in np.ndindex(*size):
        top, bottom, down = place(i, 0)
        left, right, across = place(j, 1)
        upper = x[top, left] * (1 - across) + x[top, right] * across
        lower = x[bottom, left] * (1 - across) + x[bottom, right] * across
        out[i, j] = upper * (1 - down) + lower * down
    return out


def naive_windows(image, window, stride):
    total, count = 0.0, np.zeros((*image.shape[:2], 1))
    tops, lefts = [], []
    for found, size, side, step in zip((tops, lefts), image.shape[:2], window, stride, strict=True):
        start = 0
        while start + side < size:
            found.append(start)
            start += step
        found.append(size - side)
    for top, left in itertools.product(tops, lefts):
        part = np.s_[top : top + window[0], left : left + window[1]]
        whole = np.zeros((*image.shape[:2], CLASSES))
        whole[part] = naive_network(image[part])
        total = total + whole
        count[part] += 1
    return total / count


def naive_inference(image, size, *, pad_to=(), window=(), stride=(), scales=(1.0,), mirror=False):
    views = []
    for scale, mirrored in itertools.product(scales, (False, True) if mirror else (False,)):
        scaled = [max(1, round(side * scale)) for side in image.shape[:2]]
        view = naive_resize(image, scaled, aligned=False)
        if mirrored:
            view = view[:, ::-1]
        canvas = [max(sides) for sides in zip(image.shape[:2], pad_to or (0, 0), strict=True)]
        canvas = [max(1, round(side * scale)) for side in canvas]
        canvas = [max(sides) for sides in zip(canvas, window or (0, 0), strict=True)]
        padded = np.zeros((*canvas, 3))
        padded[: scaled[0], : scaled[1]] = view
        whole = naive_windows(padded, window, stride) if window else naive_network(padded)
        view = whole[: scaled[0], : scaled[1]]
        if mirrored:
            view = view[:, ::-1]
        views.append(naive_resize(view, size, aligned=True))
    return np.mean(views, axis=0)


def draw(*sizes):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(*size, 3)).astype(np.float32) for size in sizes]


def infer(images, inference, label_sizes=None, batch_size=3):
    """Probabilities of images that share a canvas, each cut out of it."""
    label_sizes = label_sizes or [image.shape[:2] for image in images]
    (canvas,) = {inference.canvas(image.shape[:2]) for image in images}
    (label_canvas,) = {inference.canvas(size) for size in label_sizes}
    batch = np.zeros((len(images), *canvas, 3), np.float32)
    for place, image in zip(batch, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    probabilities = predict_images(
        network,
        KERNEL,
        jnp.asarray(batch),
        Sizes(canvas, tuple(image.shape[:2] for image in images)),
        Sizes(label_canvas, tuple(label_sizes)),
        inference,
        batch_size=batch_size,
    )
    assert probabilities.shape == (len(images), *label_canvas, CLASSES)
    return [
        probability[: size[0], : size[1]]
        for probability, size in zip(probabilities, label_sizes, strict=True)
    ]


WINDOWS = {"window": (6, 5), "stride": (4, 3)}
PROTOCOLS = {
    "as it is": {},
    "padded": {"pad_to": (13, 15)},
    "windows": WINDOWS,
    "windows side by side": {"window": (4, 4), "stride": (4, 4)},
    "one window": {"window": (20, 20), "stride": (1, 20)},
    "window as high as the image": {"window": (9, 4), "stride": (9, 2)},
    "half": {"scales": (0.5,)},
    "scales": {"scales": (0.75, 1.0, 1.6)},
    "mirrored": {"mirror": True},
    "padded, scales, mirrored": {"pad_to": (13, 15), "scales": (0.7, 1.3), "mirror": True},
    "windows, scales, mirrored": {**WINDOWS, "scales": (0.4, 1.5), "mirror": True},
    "padded, windows, scales, mirrored": {
        **WINDOWS, "pad_to": (13, 15), "scales": (0.6, 1.2), "mirror": True
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [(9, 14), (12, 7), (3, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("fields", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_agrees_with_the_definition(fields, size):
    (image,) = draw(size)
    (probabilities,) = infer([image], Inference(**fields))
    expected = naive_inference(image, size, **fields)
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("fields", [PROTOCOLS[name] for name in PROTOCOLS if "padded" in name])
def test_images_of_several_sizes_in_one_batch(fields):
    images = draw((9, 14), (13, 2), (5, 15), (13, 15))
    for image, probabilities in zip(images, infer(images, Inference(**fields)), strict=True):
        expected = naive_inference(image, image.shape[:2], **fields)
        np.testing.assert_allclose(probabilities, expected, atol=2e-6)


@pytest.mark.parametrize("fields", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_at_the_size_of_the_label(fields):
    """As for a network that was trained on halved images and is scored on full ones."""
    (image,) = draw((9, 11))
    (probabilities,) = infer([image], Inference(**fields), label_sizes=[(17, 8)])
    expected = naive_inference(image, (17, 8), **fields)
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_windows_do_not_depend_on_how_many_go_together(batch_size):
    """Nine of them: with a full last batch and not."""
    (image,) = draw((14, 11))
    (probabilities,) = infer([image], Inference(**WINDOWS), batch_size=batch_size)
    expected = naive_inference(image, (14, 11), **WINDOWS)
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["windows", "windows side by side", "window as high as the image"])
def test_windows_in_one_trace(name):
    fields = PROTOCOLS[name]
    images = draw((9, 14), (9, 14))
    predict = functools.partial(network, KERNEL)
    found = jax.jit(lambda x: predict_by_windows(predict, x, Inference(**fields)))(np.stack(images))
    for image, probabilities in zip(images, found, strict=True):
        expected = naive_inference(image, image.shape[:2], **fields)
        np.testing.assert_allclose(probabilities, expected, atol=2e-6)


@pytest.mark.parametrize("fields", [{}, {"pad_to": (13, 15)}, WINDOWS, {"scales": (0.7, 1.5)}])
def test_mirrored_average_is_symmetric(fields):
    """Padding, windows and scaling treat the image and its mirror image alike."""
    (image,) = draw((9, 14))
    inference = Inference(**fields, mirror=True)
    (one,) = infer([image], inference)
    (other,) = infer([image[:, ::-1]], inference)
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-6)
    (alone,) = infer([image], Inference(**fields))
    assert np.abs(one - alone).max() > 0.01


def test_plain_inference_is_the_networks_own():
    images = np.stack(draw((9, 14), (9, 14)))
    np.testing.assert_array_equal(infer(list(images), Inference()), network(KERNEL, images))


def seen_at(image, scale):
    """What a network is shown of an image at a scale."""
    size = image.shape[:2]
    shown = []
    predict_images(
        lambda variables, images: shown.append(images) or images[..., :1],
        None,
        jnp.asarray(image[None]),
        Sizes(size, (size,)),
        Sizes(size, (size,)),
        Inference(scales=(scale,)),
        batch_size=1,
    )
    return shown[0][0]


def test_half_the_scale_is_the_mean_of_four():
    """As images of Cityscapes are halved when they are prepared."""
    (image,) = draw((8, 14))
    expected = image.reshape(4, 2, 7, 2, 3).mean((1, 3))
    np.testing.assert_allclose(seen_at(image, 0.5), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.73, 1.0, 1.9])
def test_scales_as_training_does(scale):
    image = np.random.default_rng(2).integers(0, 256, (9, 14, 3), np.uint8)
    size = (round(9 * scale), round(14 * scale))
    transform = TrainTransform(crop_size=size, scale=(scale, scale), mirror=False)
    expected = transform({"image": image}, np.random.default_rng(0))["image"]
    np.testing.assert_allclose(seen_at(image.astype(np.float32), scale), expected, atol=1e-3)


def test_positions_are_not_rounded():
    """In float32 those near 2048 would be off by up to 1e-4 of a pixel."""
    size = (1, 2048)
    ramp = np.arange(2048, dtype=np.float32).reshape(1, 1, 2048, 1)
    probabilities = predict_images(
        lambda variables, images: jnp.asarray(ramp),
        None,
        jnp.zeros((1, *size, 3)),
        Sizes(size, (size,)),
        Sizes((1, 3001), ((1, 3001),)),
        Inference(),
        batch_size=1,
    )
    expected = np.arange(3001) * 2047 / 3000
    np.testing.assert_allclose(probabilities[0, 0, :, 0], expected, rtol=2e-7)
