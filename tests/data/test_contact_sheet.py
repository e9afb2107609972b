"""The picture of some images under the colours of their masks."""

import numpy as np
import pytest

from sassn_jax.data import contact_sheet, drawing
from sassn_jax.data.contact_sheet import SIDE, choose, draw_sheet, overlay
from sassn_jax.data.inspection import inspect
from sassn_jax.errors import InputError
from tests.data.test_inspection import NAMES, PALETTE, dataset, noise

INFO = dataset().info


@pytest.mark.parametrize(
    ("lengths", "count", "expected"),
    [
        ({"train": 100, "val": 50}, 4, {"train": [0, 50], "val": [0, 25]}),
        ({"train": 9, "val": 1, "test": 9}, 6, {"train": [0, 3, 6], "val": [0], "test": [0, 4]}),
        ({"train": 2, "val": 1}, 24, {"train": [0, 1], "val": [0]}),
        ({"train": 7}, 3, {"train": [0, 2, 4]}),
        ({}, 24, {}),
    ],
)
def test_images_are_spread_over_the_parts(lengths, count, expected):
    assert choose(lengths, count) == expected


def test_an_overlay_is_the_mean_of_image_and_colours():
    image, label = noise(0, 60, 80, ids=(0, 1, 2, 3, 255))
    palette = np.concatenate([PALETTE, np.full((252, 3), 255)])
    expected = (image.astype(float) + palette[label]) / 2
    drawn = np.asarray(overlay(image, label, INFO, 80), float)
    assert np.abs(drawn - expected).max() <= 1
    assert (np.asarray(overlay(image, None, INFO, 80)) == image).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1), (240, 240)), ((20, 4000), (240, 4)), ((100, 50), (120, 240)), ((6, 8), (240, 180))],
)
def test_any_size_is_fitted(shape, size):
    image, label = noise(0, *shape)
    assert overlay(image, label, INFO, 240).size == size


def test_it_shows_images_of_each_part_and_all_classes(monkeypatch):
    image = np.full((30, 30, 3), 100, np.uint8)
    label = {i: np.full((30, 30), i, np.uint8) for i in (0, 1, 255)}
    broken = (image, InputError("damaged"))
    shown = dataset(
        train={"a": (image, label[0]), "b": broken, "ü" * 300: (image, label[1])},
        val={"v": (image, label[255])},
        unlabeled={"u": (image, None)},
    )
    texts = []
    write = contact_sheet.ImageDraw.ImageDraw.text

    def noted(self, place, text, **options):
        texts.append(text)
        write(self, place, text, **options)

    monkeypatch.setattr(contact_sheet.ImageDraw.ImageDraw, "text", noted)
    sheet = np.asarray(draw_sheet(shown, inspect(shown, ("a", "b"), duplicates=False)))
    a, _, long, _, *others = texts
    assert a == "a"
    assert texts[1::2][:4] == ["train (labeled)", "train (unlabeled)", "val", "unlabeled"]
    assert long.startswith("üü")
    assert "…" in long
    assert len(long) < 60
    assert others[-5:] == [*(f"{i} {name}" for i, name in enumerate(NAMES)), "255 (ignored)"]
    colors, counts = np.unique(sheet.reshape(-1, 3), axis=0, return_counts=True)
    pixels = {tuple(color): count for color, count in zip(colors.tolist(), counts, strict=True)}
    for color in ((50, 50, 177), (95, 95, 95), (177, 177, 177), (100, 100, 100)):
        assert pixels[color] >= SIDE**2 - 200  # 100 and a class, ignored pixels, or nothing
    for color in PALETTE.tolist():
        assert pixels[tuple(color)] > 50  # in the legend


def test_where_no_pixel_is_ignored_the_legend_has_classes_alone():
    ends = []
    for ids in ((0, 1), (0, 255)):
        given = dataset(train={"a": noise(0, ids=ids)})
        sheet = np.asarray(draw_sheet(given, inspect(given, ("a",), duplicates=False)))
        legend = sheet[-contact_sheet.LINE - contact_sheet.GAP :]
        ends.append(np.flatnonzero((legend != 255).any(axis=(0, 2))).max())
    assert ends[0] < ends[1]


def test_without_the_font_pillows_own_is_used(monkeypatch):
    load = drawing.ImageFont.truetype

    def missing(font, *arguments, **options):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return load(font, *arguments, **options)

    given = dataset(train={"a": noise(0)})
    found = inspect(given, ("a",), duplicates=False)
    monkeypatch.setattr(drawing.ImageFont, "truetype", missing)
    sheet = np.asarray(draw_sheet(given, found))
    legend = sheet[-contact_sheet.LINE - contact_sheet.GAP :]
    assert (legend.max(-1) < 50).any()  # the names' black ink
