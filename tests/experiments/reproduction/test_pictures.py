"""Figures 3 and 4 have a column for each run that is there."""

import types

import numpy as np
import pytest

from experiments import pictures as headed
from experiments.reproduction import pictures, results
from experiments.reproduction.cells import Cell
from sassn_jax.data import scenes
from sassn_jax.files import write_json
from tests.experiments.reproduction.conftest import result_of


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Folders of finished cells, whose networks say what their seed is; their data are in NOW."""

    def load_run(folder, overrides):
        assert overrides == {"data_dir": "NOW"}

        def predict(image):
            return types.SimpleNamespace(ids=np.full(image.shape[:2], int(folder.name[-1])))

        return types.SimpleNamespace(dataset=scenes.load(), predict=predict)

    monkeypatch.setattr(pictures, "load_run", load_run)

    def leave(*cells):
        for cell in cells:
            folder = results.folder_of(tmp_path, cell)
            folder.mkdir(parents=True)
            write_json(folder / results.FILE, result_of(cell, 0.5))

    return leave


def test_columns_are_the_runs_that_are_there(tmp_path, runs, monkeypatch):
    cells = [Cell("scenes", "sassn", labels, 0) for labels in ("1/8", "1/2", "1")]
    runs(*cells, Cell("scenes", "sn", "1/2", 1))
    shown = {}

    monkeypatch.setattr(headed, "headed_table", lambda *shown: shown)
    monkeypatch.setattr(headed, "write_picture", lambda path, of: shown.update({path.name: of}))
    written = pictures.draw_figures(tmp_path, "scenes", ("1/8", "1/4", "1/2", "1"), "1/2", "NOW")
    assert written == [tmp_path / "figure_3_scenes.png", tmp_path / "figure_4_scenes.png"]
    headings, rows, enlarged = shown["figure_3_scenes.png"]
    assert headings == ["input", "truth", "sassn, 1/8", "sassn, 1/2", "sassn, full"]
    assert [len(row) for row in rows] == [5] * pictures.PICTURED
    assert enlarged == 2
    first, last = (scenes.load().splits["test"][index]["image"] for index in (0, 255))
    np.testing.assert_array_equal(rows[0][0], first)
    np.testing.assert_array_equal(rows[-1][0], last)
    headings, rows, _ = shown["figure_4_scenes.png"]
    assert headings == ["input", "truth", "sn, 1/2", "sassn, 1/2"]
    assert (rows[0][2] == scenes.PALETTE[1]).all()  # what the run of seed 1 says
    assert (rows[0][3] == scenes.PALETTE[0]).all()


def test_methods_are_compared_by_one_seed_where_they_share_one(tmp_path, runs):
    runs(*(Cell("scenes", "sassn", "1/2", seed) for seed in (0, 1, 2)))
    runs(Cell("scenes", "sn", "1/2", 2))
    cells = {method: Cell("scenes", method, "1/2", 0) for method in ("sa", "sn", "sassn")}
    found = pictures._comparable(tmp_path, cells)
    assert {method: folder.name for method, folder in found} == {
        "sn": "scenes_sn_1-2_seed2",
        "sassn": "scenes_sassn_1-2_seed2",
    }


def test_no_runs_no_figures(tmp_path):
    assert pictures.draw_figures(tmp_path, "scenes", ("1/8", "1"), "1/8") == []
