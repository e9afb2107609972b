"""Tables of pictures with headings, the legend, bars and heat maps, measured in their pixels."""

import numpy as np
import pytest

from sassn_jax.data import DatasetInfo
from sassn_jax.training import pictures

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


def test_a_long_heading_stays_above_its_column():
    black = np.zeros((2, 240, 3), np.uint8)
    table = pictures.headed_table(["a", "attention3, alpha -0.0345"], [[black, black]])
    dark = np.flatnonzero((table[: pictures.STRIP] < 128).any((0, 2)))
    second = dark[dark > 200]
    assert 240 + pictures.GAP < second[0] < second[-1] < table.shape[1] - 1


@pytest.mark.parametrize("width", [120, 1000])
def test_the_legend_has_every_colour_and_keeps_to_its_width(width):
    legend = pictures.legend(INFO, width)
    assert legend.shape[1] == width
    for color in [*COLORS, (255, 255, 255)]:
        assert (legend == color).all(-1).sum() >= 100
    assert (legend.shape[0] == pictures.LINE) == (width == 1000)
    above = np.zeros((5, width, 3), np.uint8)
    np.testing.assert_array_equal(pictures.with_legend(above, INFO)[5:], legend)


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
