"""Distances by brute force, receptive fields by their formula."""

import csv
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reproduction import distance, results, tables
from experiments.reproduction.distance import EDGES, count, distance_to
from experiments.reproduction.entries import gather
from experiments.reproduction.receptive_field import HELD, measure
from sassn_jax.data.scenes import CLASS_NAMES, ScenesSource
from sassn_jax.models.generator import Generator
from tests.experiments.reproduction.conftest import result_of
from tests.trees import random_variables

SIGNAL, OPEN, CLOSED = map(CLASS_NAMES.index, ("signal", "gate_open", "gate_closed"))


def test_distances_from_pixels():
    where = np.zeros((5, 7), bool)
    where[1, 2] = where[4, 6] = True
    expected = [
        [min(max(abs(y - 1), abs(x - 2)), max(abs(y - 4), abs(x - 6))) for x in range(7)]
        for y in range(5)
    ]
    np.testing.assert_array_equal(distance_to(where), expected)


def test_pixels_counted_by_distance():
    label = np.zeros((50, 80), int)
    label[10, 0] = SIGNAL
    label[10, 24] = label[10, 31] = OPEN  # both in the first bin
    label[49, 1] = CLOSED  # 39 down: the second
    label[10, 5] = OPEN  # nearer than any in a scene
    prediction = np.zeros_like(label)
    prediction[10, 24] = prediction[49, 1] = OPEN
    counts = {name: numbers.tolist() for name, numbers in count(label, prediction).items()}
    assert counts == {
        "right": [1, 0, 0, 0, 0, 0, 0],
        "called": [1, 1, 0, 0, 0, 0, 0],
        "pixels": [2, 1, 0, 0, 0, 0, 0],
        "scenes": [1, 1, 0, 0, 0, 0, 0],
    }


def test_bins_hold_every_pixel_of_the_pair():
    source = ScenesSource("test")
    for index in range(64):
        label = source[index]["label"].astype(int)
        counts = count(label, label)
        assert counts["pixels"].sum() == np.isin(label, (OPEN, CLOSED)).sum() > 0


@pytest.mark.parametrize(("size", "dilation"), [((21, 31), 1), ((40, 33), 3)])
def test_field_of_two_convolutions(size, dilation):
    """Of 3x3 convolutions of ones the gradient is the product of two triangles."""

    def logits(_, images):
        kernel = jnp.ones((3, 3, 1, 1))
        x = images[..., :1]
        for _ in range(2):
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", rhs_dilation=(dilation,) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
        return x

    field = measure(logits, {}, [np.ones((*size, 3), np.float32)], 0)
    assert (field.extent, field.is_cut) == (2 * dilation, False)
    triangle = np.square([1.0, 2, 3, 2, 1])
    within = triangle[1:4].sum() ** 2 / triangle.sum() ** 2  # of a step from the middle: 0.80
    assert within < 0.95
    assert field.effective == 2 * dilation


def test_a_field_with_nearly_all_in_the_middle():
    def logits(_, images):
        near, far = images[:, 6:-6, 6:-6, :1], images[:, :-12, :-12, :1]
        return jnp.pad(near + 0.1 * far, ((0, 0), (6, 6), (6, 6), (0, 0)))

    field = measure(logits, {}, [np.ones((25, 25, 3), np.float32)], 0)
    assert (field.extent, field.effective, field.is_cut) == (6, 0, False)
    assert measure(logits, {}, [np.ones((13, 13, 3), np.float32)], 0).is_cut


def reach(rates):
    """How far `resnet_tiny` sees by its strides and dilations, with bilinear upsampling by 8.

    From the sum over layers of half a kernel times its dilation and the strides before it.
    """
    stem, pool, last = 3, 2 * 1, 8
    stages = 4 * 1, last * 1, last * 2, last * 4
    head = last * max(rates)
    return stem + pool + sum(stages) + head


@pytest.mark.usefixtures("fast_compile")
def test_field_of_the_network_without_attention():
    rates = (1, 2)
    model = Generator(3, backbone="resnet_tiny", attention=(), aspp_rates=rates)
    image = np.random.default_rng(0).normal(size=(217, 209, 3)).astype(np.float32)
    variables = random_variables(model, image[None, :17, :17], seed=0, train=False)
    field = measure(lambda v, x: model.apply(v, x, train=False), variables, [image], 1)
    # Between two positions of the feature map there are up to 8 pixels more to the farther one.
    assert reach(rates) <= field.extent <= reach(rates) + 8
    assert 0 < field.effective < field.extent
    assert not field.is_cut


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="draws: pip install matplotlib"
)
@pytest.mark.parametrize("runs", [0, 2])
def test_the_report(tmp_path, runs):
    table, changes = tables.TABLES["distance"], {"num_steps": 10}
    for row in table.rows:
        for seed in range(runs):
            cell = table.cell("scenes", row, table.columns[0], seed)
            folder = results.folder_of(tmp_path, cell)
            folder.mkdir(parents=True)
            result = result_of(cell, 0.5, changes=changes)
            (folder / results.FILE).write_text(json.dumps(result))
            counts = {"right": seed + 1, "called": 4 - seed, "pixels": 8, "scenes": 2}
            field = {"extent": 90 + seed, "effective": 30, "is_cut": False}
            measured = {
                "began": result["began"],
                "edges": EDGES,
                "held": HELD,
                "counts": {k: [v] + [0] * (len(EDGES) - 2) for k, v in counts.items()},
                "receptive_field": field,
            }
            (folder / distance.FILE).write_text(json.dumps(measured))
    distance.write_report(tmp_path, table.title, gather(tmp_path, table, "scenes"))
    text = (tmp_path / "table_distance.md").read_text()
    assert (tmp_path / "table_distance.png").exists()
    with (tmp_path / "table_distance.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * (len(EDGES) - 1)
    if runs:
        # 1 and 2 of 8: mean 0.1875, spread 0.125 / sqrt(2); 1 of 4 and 2 of 3: 0.4583, 0.2946.
        shares = ["0.188 ± 0.088 (2)"] * 2 + ["0.458 ± 0.295 (2)"] * 2
        assert f"| 16 to 31 | 8 | 2 | {' | '.join(shares)} |" in text
        assert (
            "scenes_advsemiseg_1-8_seed1: the gradient of a logit reaches 91 pixels far; 95%"
            in text
        )
        assert "| AdvSemiSeg | 10 | 1.0 | 2 x cpu | random |" in text
        assert "All with num_steps=10." in text
        assert (lines[0]["mean"], lines[1]["mean"]) == ("0.1875", "")
