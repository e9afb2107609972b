import math

import numpy as np
import pytest

from sassn_jax.data import Normalize, TrainTransform
from sassn_jax.errors import InputError


class Draws(np.random.Generator):
    """A generator that returns given numbers."""

    def __init__(self, *values):
        super().__init__(np.random.PCG64())
        self.values = np.array(values)

    def random(self, count):
        assert count == len(self.values)
        return self.values


def transform(example, draws=(0.0, 0.0, 0.0, 0.9), **settings):
    return TrainTransform(**settings)(example, Draws(*draws))


def example(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (height, width, 3), np.uint8),
        "label": rng.integers(0, 5, (height, width), np.uint8),
        "id": "x",
    }


def naive_scale(image, label, factor):
    """Scales pixel by pixel, with pixel centres at half integers and repeated edges."""
    height, width = label.shape
    H, W = round(height * factor), round(width * factor)
    scaled, nearest = np.zeros((H, W, 3)), np.zeros((H, W), int)
    for i in range(H):
        for j in range(W):
            y, x = (i + 0.5) * height / H, (j + 0.5) * width / W
            nearest[i, j] = label[math.floor(y), math.floor(x)]
            y, x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
            top, left = math.floor(y), math.floor(x)
            for row, share_y in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
                for col, share_x in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
                    scaled[i, j] += share_y * share_x * image[row, col]
    return scaled, nearest


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("size", [(9, 13), (16, 8), (1, 5)])
def test_scaling_is_bilinear_for_images_and_nearest_for_masks(factor, size):
    one = example(*size)
    scaled, nearest = naive_scale(one["image"], one["label"], factor)
    out = transform(one, crop_size=nearest.shape, scale=(factor, factor))
    np.testing.assert_allclose(out["image"], scaled, atol=1e-3)
    np.testing.assert_array_equal(out["label"], nearest)
    assert out["image"].dtype == np.float32
    assert out["label"].dtype == np.int32


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_normalization_orders_channels_then_shifts_and_scales(channel_order):
    image = example(4, 5)["image"]
    mean, std = (1.0, 2.0, 3.0), (2.0, 4.0, 5.0)
    out = Normalize(channel_order, mean, std)(image)
    order = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}[channel_order]
    for channel in range(3):
        expected = (image[..., order[channel]].astype(float) - mean[channel]) / std[channel]
        np.testing.assert_allclose(out[..., channel], expected, rtol=1e-6)
    assert out.dtype == np.float32


def test_another_order_of_the_channels_is_refused():
    with pytest.raises(InputError, match="channel_order='grb': expected one of rgb, bgr"):
        Normalize(channel_order="grb")


@pytest.mark.parametrize("draw", [0.0, 0.4, 0.9999])
def test_a_crop_is_a_window_of_image_and_mask_alike(draw):
    one = example(11, 17)
    out = transform(one, (0.0, draw, draw, 0.9), crop_size=(5, 6))
    top, left = math.floor(draw * (11 - 5 + 1)), math.floor(draw * (17 - 6 + 1))
    np.testing.assert_array_equal(out["image"], one["image"][top : top + 5, left : left + 6])
    np.testing.assert_array_equal(out["label"], one["label"][top : top + 5, left : left + 6])


def test_every_window_and_both_sides_occur():
    one = {"image": np.zeros((4, 5, 3), np.uint8), "label": np.arange(20, dtype=np.uint8)}
    one["label"] = one["label"].reshape(4, 5)
    rng = np.random.default_rng(0)
    cut = TrainTransform((3, 3), mirror=True)
    seen = {tuple(cut(one, rng)["label"].ravel()) for _ in range(300)}
    windows = [one["label"][y : y + 3, x : x + 3] for y in range(2) for x in range(3)]
    expected = {tuple(w.ravel()) for w in windows} | {tuple(w[:, ::-1].ravel()) for w in windows}
    assert seen == expected


def test_an_image_smaller_than_the_crop_is_padded_below_and_right():
    one = example(5, 9)
    normalize = Normalize("rgb", (50.0, 60.0, 70.0), (3.0, 3.0, 3.0))
    out = transform(one, (0.0, 0.5, 0.5, 0.9), crop_size=(8, 12), normalize=normalize)
    np.testing.assert_array_equal(out["image"][:5, :9], normalize(one["image"]))
    np.testing.assert_array_equal(out["label"][:5, :9], one["label"])
    assert not out["image"][5:].any()
    assert not out["image"][:, 9:].any()
    assert (out["label"][5:] == 255).all()
    assert (out["label"][:, 9:] == 255).all()


def test_a_mirrored_image_is_padded_on_the_same_sides():
    one = example(5, 9)
    out = transform(one, (0.0, 0.0, 0.0, 0.1), crop_size=(8, 12))
    np.testing.assert_array_equal(out["image"][:5, :9], one["image"][:, ::-1])
    np.testing.assert_array_equal(out["label"][:5, :9], one["label"][:, ::-1])
    assert (out["label"][:, 9:] == 255).all()


@pytest.mark.parametrize("draw", [0.1, 0.9])
def test_which_pixels_are_filled_is_said_where_asked_for(draw):
    one = {"image": np.full((5, 9, 3), 7, np.uint8)}  # without a mask
    out = transform(one, (0.0, 0.5, 0.5, draw), crop_size=(8, 7), mark_filled=True)
    assert out["valid"].dtype == bool
    assert out["valid"].shape == (8, 7)
    np.testing.assert_array_equal(out["valid"], out["image"][..., 0] == 7)
    assert out["valid"].sum() == 5 * 7
    half = transform(one, crop_size=(8, 7), scale=(0.5, 0.5), mark_filled=True)
    assert half["valid"].sum() == half["valid"][:2, :4].sum() == 2 * 4
    whole = transform(one, crop_size=(5, 9), mark_filled=True)
    assert whole["valid"].all()
    assert "valid" not in transform(one, crop_size=(8, 7))


def test_mirroring_can_be_turned_off():
    one = example(5, 9)
    out = transform(one, (0.0, 0.0, 0.0, 0.1), crop_size=(5, 9), mirror=False)
    np.testing.assert_array_equal(out["image"], one["image"])


def test_ignored_pixels_stay_ignored_whatever_the_scale():
    one = example(12, 15)
    one["label"][:] = 255
    out = transform(one, (0.3, 0.2, 0.7, 0.1), crop_size=(20, 8), scale=(0.5, 2.0))
    assert (out["label"] == 255).all()


def test_an_image_without_a_mask_is_ignored_everywhere():
    one = example(12, 15)
    del one["label"]
    out = transform(one, crop_size=(16, 16), ignore_label=7)
    assert (out["label"] == 7).all()
    assert out["label"].shape == (16, 16)
    assert out["label"].dtype == np.int32


@pytest.mark.parametrize(
    ("wrong", "dtype", "ignore_label"),
    [(5, "uint8", 255), (11, "uint8", 255), (255, "uint8", 100), (-1, "int32", 255),
     (-1, "int8", 100), (300, "int64", 255)],
)  # fmt: skip
def test_a_label_outside_the_classes_is_an_error(wrong, dtype, ignore_label):
    """One wrong pixel is enough, inside or outside the crop."""
    one = example(9, 12)
    one["label"][3] = ignore_label
    settings = {"crop_size": (4, 4), "num_classes": 5, "ignore_label": ignore_label}
    transform(one, **settings)
    for pixel in ((0, 0), (8, 11)):
        bad = one | {"label": one["label"].astype(dtype), "id": "berlin_7"}
        bad["label"][pixel] = wrong
        with pytest.raises(InputError) as error:
            transform(bad, **settings)
        assert str(error.value) == (
            f"image 'berlin_7': class id {wrong}; expected 0 to 4 or {ignore_label} (ignore); "
            "correct the mask or the classes (1 of 108 pixels)"
        )


def test_labels_are_checked_where_classes_are_told():
    one = example(9, 12)
    one["label"][0, 0] = 77
    assert transform(one, crop_size=(9, 12))["label"][0, 0] == 77
    del one["id"]
    with pytest.raises(InputError, match="image None: class id 77; expected 0 to 4 or 255"):
        transform(one, crop_size=(9, 12), num_classes=5)
    del one["label"]
    transform(one, crop_size=(9, 12), num_classes=5)


def test_the_source_is_not_written_to():
    one = example(8, 8)
    one["image"].flags.writeable = one["label"].flags.writeable = False
    out = transform(one, (0.0, 0.0, 0.0, 0.1), crop_size=(8, 8))
    out["image"] += 1
    out["label"] += 1
