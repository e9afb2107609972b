"""Tables of pictures with headings, the legend, bars and heat maps, measured in their pixels."""

import types

import numpy as np
import pytest

from sassn_jax.data import DatasetInfo
from sassn_jax.training import pictures
from sassn_jax.training.album import Album

COLORS = np.array([[0, 0, 0], [200, 10, 20], [30, 40, 250]], np.uint8)
INFO = DatasetInfo("toy", ("background", "a", "b"), COLORS)


def test_pictures_of_several_sizes_stand_in_the_middle():
    wide, tall = np.zeros((2, 6, 3), np.uint8), np.full((4, 2, 3), 9, np.uint8)
    table = pictures.headed_table(["a"], [[wide], [tall]], enlarged=2)
    assert table.shape == (pictures.STRIP + 2 * (4 + pictures.GAP + 4), 2 * 6, 3)
    expected = np.full((12, 6), 255)
    expected[1:3] = 0
    expected[8:, 2:4] = 9
    np.testing.assert_array_equal(table[pictures.STRIP :: 2, ::2, 0], expected)


@pytest.mark.parametrize(("width", "enlarged"), [(96, 3), (240, 1), (1000, 1)])
def test_headings_have_room_above_small_pictures(width, enlarged):
    black = np.zeros((2, width, 3), np.uint8)
    table = pictures.headed_table(["prediction", "truth"], [[black, black]])
    assert table.shape == (pictures.STRIP + 2 * enlarged, enlarged * (2 * width + pictures.GAP), 3)
    for column in range(2):
        start = column * enlarged * (width + pictures.GAP)
        strip = table[: pictures.STRIP, start : start + enlarged * width]
        dark = np.flatnonzero((strip < 128).any((0, 2)))
        middle = (dark[0] + dark[-1]) / 2
        assert abs(middle - enlarged * width / 2) < 4


@pytest.mark.parametrize("text", ["attention3, alpha -0.00086", "grey 0.98, red 1.03 x mean"])
def test_long_headings_stay_above_their_columns(text):
    black = np.zeros((2, 240, 3), np.uint8)
    both = f"{text}\n{text}"
    table = pictures.headed_table([both, both], [[black, black]])
    assert table.shape[0] == 2 * pictures.STRIP + 2
    for line in range(2):
        strip = table[line * pictures.STRIP : (line + 1) * pictures.STRIP]
        dark = (strip < 128).any((0, 2))
        assert not dark[235 : 245 + pictures.GAP].any()  # a gap between the two
        assert not dark[[0, -1]].any()
        assert dark[20:220].any()
        assert dark[264:464].any()


@pytest.mark.parametrize("width", [120, 1000])
def test_the_legend_has_every_colour_and_keeps_to_its_width(width):
    above = np.zeros((5, width, 3), np.uint8)
    whole = pictures.with_legend(above, INFO)
    np.testing.assert_array_equal(whole[:5], above)
    legend = whole[5:]
    for color in [*COLORS, (255, 255, 255)]:
        assert (legend == color).all(-1).sum() >= 100
    assert (legend.shape[0] == pictures.LINE) == (width == 1000)
    with_scale = pictures.with_legend(above, INFO, confidence=True)
    np.testing.assert_array_equal(with_scale[: len(whole)], whole)
    scale = with_scale[len(whole) :].reshape(-1, 3).tolist()
    assert {(255, 0, 0), (0, 0, 255)} <= set(map(tuple, scale))


def test_bars_are_as_long_as_the_iou():
    bars = pictures.iou_bars(np.array([0.5, np.nan, 1.0]), INFO, longest=200)
    middles = [line * pictures.LINE + pictures.LINE // 2 for line in range(4)]
    lengths = [int((bars[row] == color).all(-1).sum()) for row, color in zip(
        middles, [COLORS[0], COLORS[1], COLORS[2], (128, 128, 128)], strict=True
    )]  # fmt: skip
    assert lengths[1] == 0
    assert lengths[2] == pytest.approx(200, abs=3)
    assert lengths[3] == pytest.approx(150, abs=3)  # the mean of the two that occur
    assert bars.shape[0] == 4 * pictures.LINE


def test_a_heat_map_has_its_own_range():
    """Attention that looks nearly everywhere alike shows where it looks more."""
    image = np.full((40, 60, 3), 90, np.uint8)
    heat = np.full((4, 6), 0.0416)
    heat[3, 5], heat[0, 5] = 0.0417, 0.0415
    picture = pictures.heat_over(image, heat, (20, 10))
    assert picture[-1, -1].tolist() == [255, 0, 0]
    assert picture[0, -1].tolist() == [90, 90, 90]
    middle = picture[0, 0].astype(int)
    np.testing.assert_allclose(middle, [(90 + 255) / 2, 45, 45], atol=1)
    flat = pictures.heat_over(image, np.full((4, 6), 0.25), (20, 10))
    assert flat[-1, -1].tolist() == [90, 90, 90]


def test_heat_is_red_where_it_is_largest_and_the_pixel_has_a_cross():
    image = np.full((40, 60, 3), 90, np.uint8)
    heat = np.zeros((4, 6))
    heat[3, 5] = 0.2
    picture = pictures.heat_over(image, heat, (8, 10))
    assert picture[-1, -1].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [90, 90, 90]
    cyan = np.argwhere((picture == (0, 255, 255)).all(-1))
    assert cyan.mean(0).tolist() == [8, 10]
    assert picture[8, 10].tolist() == [90, 90, 90]
    assert (image == 90).all()


@pytest.mark.parametrize("has_truth", [True, False])
def test_the_truth_is_left_out_where_there_is_none(monkeypatch, has_truth):
    """The masks of unlabelled images are often ignored pixels alone."""
    shown, headed = [], []
    album = Album.__new__(Album)
    album._setup = types.SimpleNamespace(dataset=types.SimpleNamespace(info=INFO))
    album._writer = types.SimpleNamespace(picture=lambda *picture: shown.append(picture))
    monkeypatch.setattr(
        "sassn_jax.training.album.headed_table",
        lambda headings, rows: headed.append(headings) or pictures.headed_table(headings, rows),
    )
    black, white = np.zeros((240, 240, 3), np.uint8), np.full((240, 240, 3), 255, np.uint8)
    rows = [[black, white, black, black], [black, black if has_truth else white, black, black]]
    album._write_table(3, "training_unlabeled", rows)
    truth = ("truth",) if has_truth else ()
    assert headed == [("input", *truth, "prediction", "discriminator's confidence")]
    ((_, name, picture),) = shown
    assert name == "pictures/training_unlabeled"
    assert picture.shape[1] == (3 + has_truth) * 244 - 4
