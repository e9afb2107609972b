"""The report's numbers against means and spreads computed by hand."""

import csv
import importlib.util
import json
import math

import pytest
from PIL import Image

from experiments.reproduction import figures, report, results, tables
from experiments.reproduction.cells import Recipe
from experiments.reproduction.entries import gather, write_csv, write_runs
from experiments.reproduction.markdown import write_table
from experiments.reproduction.results import DIVERGED, count_healthy, summarize
from sassn_jax.errors import InputError
from tests.experiments.reproduction.conftest import result_of

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="draws: pip install matplotlib"
)


def leave(workdir, cell, result):
    folder = results.folder_of(workdir, cell)
    folder.mkdir(parents=True)
    (folder / results.FILE).write_text(json.dumps(result))


def fill(workdir, name, dataset, rows):
    """Leaves results of a method's cells at 1/2 of the labels, or the table's first column."""
    table, _ = tables.find(name, dataset)
    columns = [column for column in table.columns if column.labels == "1/2"] or table.columns
    for method, values in rows.items():
        row = next(row for row in table.rows if row.method == method)
        for seed, value in enumerate(values):
            cell = table.cell(dataset, row, columns[0], seed)
            if isinstance(value, str):
                kind = DIVERGED if value == "nan" else "OSError"
                failed = {"cell": cell.name, "seed": seed, "error": value, "error_kind": kind}
                leave(workdir, cell, failed)
            else:
                leave(workdir, cell, result_of(cell, value))
    return table


def line_of(text, title):
    return next(line for line in text.splitlines() if line.startswith(f"| {title} "))


def test_mean_and_spread():
    """(1 + 2 + 6) / 3 = 3; squares of the distances 4 + 1 + 9 over 2 are 7."""
    summary = summarize([1.0, None, 2.0, 6.0, math.nan])
    assert (summary.count, summary.mean) == (3, 3.0)
    assert summary.spread == pytest.approx(math.sqrt(7))
    assert summarize([4.0]).mean == 4.0
    assert math.isnan(summarize([4.0]).spread)
    assert math.isnan(summarize([]).mean)


def test_a_table_beside_the_papers_numbers(tmp_path):
    rows = {"sassn": [0.75, 0.76, 0.80], "sa": [0.759, "out of memory"], "sn": ["boom", "boom"]}
    table = fill(tmp_path, "2", "voc", rows)
    entries = gather(tmp_path, table, "voc")
    text = write_table(table, "voc", entries)
    # 75, 76 and 80: mean 77, squares 4 + 1 + 9 over 2; the paper has 76.3.
    cells = line_of(text, "Ours (SA+SN)").split(" | ")
    assert cells[3] == "77.00 ± 2.65 (3); paper 76.3 (+0.70)"
    assert cells[1] == "paper 71.8"
    assert cells[5:] == ["10", "1.0", "2 x cpu", "random |"]
    assert "75.90 (1), 1 failed; paper 75.9 (+0.00)" in line_of(text, "Ours (SA)")
    assert "| 2 failed |" in line_of(text, "SN alone")
    assert "Failed: voc_sn_1-2_seed0, voc_sn_1-2_seed1: boom" in text
    assert line_of(text, "s4GAN") == "| s4GAN `s4gan` |  |  |  | - |  |  |  |  |"
    assert "paper 67.2 [1]" in line_of(text, "FCN-8s")
    assert "paper 71.4" in line_of(text, "Mittal et al. `mittal` [3]")
    assert "[3] As Mittal et al. publish it, the mean of three splits" in text
    assert "[1] A score on VOC 2012's test split." in text

    write_csv(tmp_path / "table.csv", "voc", entries, per_class=False)
    with (tmp_path / "table.csv").open() as file:
        lines = {(line["method"], line["labels"]): line for line in csv.DictReader(file)}
    assert len(lines) == len(table.rows) * 4
    line = lines["sassn", "1/2"]
    assert float(line["mean"]) == pytest.approx(77)
    assert float(line["spread"]) == pytest.approx(math.sqrt(7), abs=1e-6)
    assert float(line["difference"]) == pytest.approx(0.7)
    assert (line["runs"], line["failed"], line["paper"]) == ("3", "0", "76.3")
    assert (line["weights"], lines["sn", "1/2"]["weights"]) == ("random", "")
    assert (lines["sn", "1/2"]["mean"], lines["sn", "1/2"]["failed"]) == ("", "2")


def test_other_data_stand_alone(tmp_path):
    table = fill(tmp_path, "5", "camvid", {"sn": [0.5], "sa2": [0.25, 0.5]})
    text = write_table(table, "camvid", gather(tmp_path, table, "camvid"))
    assert "paper" not in line_of(text, "SN")
    assert "37.50 ± 17.68 (2)" in line_of(text, "SA2")
    assert "[1]" not in text
    assert "of other data" in text


def test_a_run_in_two_parts_does_not_count_in_the_time(tmp_path):
    table, dataset = tables.find("5", "voc")
    for seed, (seconds, resumed_at) in enumerate([(60.0, 0), (2.0, 8), (120.0, 0)]):
        cell = table.cell(dataset, table.rows[0], table.columns[0], seed)
        leave(tmp_path, cell, result_of(cell, 0.5, seconds=seconds, resumed_at=resumed_at))
    assert gather(tmp_path, table, dataset)[0].minutes == pytest.approx(1.5)


def test_classes_of_table_iii(tmp_path):
    table = tables.TABLES["3"]
    entries = gather(tmp_path, table, "voc")
    text = write_table(table, "voc", entries)  # before any run: the paper alone
    assert "| AdvSemiSeg, paper | 0.93 | 0.82 | 0.40 |" in text
    cell = table.cell("voc", table.rows[0], table.columns[0], 0)
    names = [f"class{i}" for i in range(21)]
    for seed, iou in enumerate((0.5, 0.7)):
        cell = table.cell("voc", table.rows[0], table.columns[0], seed)
        leave(tmp_path, cell, result_of(cell, 0.6, iou=dict.fromkeys(names, iou)))
    entries = gather(tmp_path, table, "voc")
    text = write_table(table, "voc", entries)
    assert line_of(text, "AdvSemiSeg").startswith("| AdvSemiSeg | 0.60 ± 0.14 (2) | 0.60 ± 0.14")
    assert "| AdvSemiSeg, difference | -0.33 | -0.22 | +0.20 |" in text
    write_csv(tmp_path / "table.csv", "voc", entries, per_class=True)
    with (tmp_path / "table.csv").open() as file:
        line = next(line for line in csv.DictReader(file) if line["class"] == "class2")
    assert (line["mean"], line["paper"], line["difference"]) == ("0.6", "0.4", "0.2")


def test_health():
    cell = tables.TABLES["stability"].cells("scenes", 1)[0]

    def run(loss, **health):
        return result_of(cell, 0.5, health={"loss/discriminator": loss, **health})

    diverged = {"error": "nan", "error_kind": "TrainingError"}
    lost = {"error": "no space left", "error_kind": "OSError"}
    assert count_healthy([run(0.2), run(0.5), run(0.19), run(0.51)]) == (2, 4)
    assert count_healthy([run(0.3), diverged, lost]) == (1, 2)
    assert count_healthy([run(None)]) == (0, 1)
    assert count_healthy([run(0.3, **{"gradient_norm/generator": None})]) == (0, 1)
    assert count_healthy([lost]) == (0, 0)


def test_stability_has_three_tables(tmp_path):
    table = fill(tmp_path, "stability", "scenes", {"sn": [0.5, 0.7], "advsemiseg": [0.4]})
    text = write_table(table, "scenes", gather(tmp_path, table, "scenes"))
    assert [line for line in text.splitlines() if line.startswith("| SN `sn`")] == [
        "| SN `sn` | 60.00 ± 14.14 (2) |  |  |  | 10 | 1.0 | 2 x cpu | random |",
        "| SN `sn` | 0.300 ± 0.000 (2) |  |  |  |",
        "| SN `sn` | 2 of 2 |  |  |  |",
    ]
    assert "|  | 1 x | 3 x | 10 x | 30 x |" in text


def test_runs_that_diverge_are_told_from_those_that_fail(tmp_path):
    rows = {"sn": [0.5, "nan", "boom"], "advsemiseg": ["nan"]}
    table = fill(tmp_path, "stability", "scenes", rows)
    entries = gather(tmp_path, table, "scenes")
    text = write_table(table, "scenes", entries)
    assert "| SN `sn` | 50.00 (1), 1 diverged, 1 failed |" in text
    assert "| SN `sn` | 0.300 (1) |" in text
    assert "| SN `sn` | 1 of 2 |" in text
    assert "| AdvSemiSeg `advsemiseg` | 0 of 1 |" in text
    assert "Diverged: scenes_advsemiseg_1-8_seed0, scenes_sn_1-8_seed1\n" in text
    assert "Failed: scenes_sn_1-8_seed2: boom\n" in text
    write_csv(tmp_path / "table.csv", "scenes", entries, per_class=False)
    with (tmp_path / "table.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["discriminator_lr_multiple"] == "1"]
    found = [(x["method"], x["diverged"], x["failed"], x["share_healthy"]) for x in lines]
    assert found == [("advsemiseg", "1", "0", "0.0"), ("sn", "1", "1", "0.5")]


def test_differences_from_the_baseline_are_of_one_seed(tmp_path):
    """70 - 50, 72 - 60; the third has no pair: 16, and the root of 2 * 16."""
    rows = {"supervised": [0.5, 0.6, "boom"], "sassn": [0.7, 0.72, 0.9]}
    table = fill(tmp_path, "2", "camvid", rows)
    entries = gather(tmp_path, table, "camvid")
    text = write_table(table, "camvid", entries)
    below = text[text.index("## Less `supervised`") :]
    assert line_of(below, "Ours (SA+SN)").split(" | ")[3] == "+16.00 ± 5.66 (2)"
    assert set(line_of(below, "DeepLabv2").split("|")[2:-1]) == {"  "}
    write_csv(tmp_path / "table.csv", "camvid", entries, per_class=False)
    with (tmp_path / "table.csv").open() as file:
        found = {(x["method"], x["labels"]): x["less_baseline"] for x in csv.DictReader(file)}
    assert (found["sassn", "1/2"], found["supervised", "1/2"]) == ("16.0", "")
    assert "## Less" not in write_table(table, "camvid", [])


def test_the_baseline_has_the_same_head(tmp_path):
    table = tables.TABLES["4"]
    for row, value in zip(table.rows, (0.5, 0.6, 0.3, 0.45), strict=True):
        cell = table.cell("voc", row, table.columns[0], 0)
        leave(tmp_path, cell, result_of(cell, value))
    entries = [e for e in gather(tmp_path, table, "voc") if e.column == table.columns[0]]
    assert [round(entry.less_baseline.mean, 6) for entry in entries[1::2]] == [10.0, 15.0]
    other = fill(tmp_path, "5", "camvid", {"advsemiseg": [0.5], "sn": [0.6]})
    text = write_table(other, "camvid", gather(tmp_path, other, "camvid"))
    assert "## Less `advsemiseg`\n" in text


def test_each_run_has_a_line_of_its_own(tmp_path):
    table = fill(tmp_path, "5", "camvid", {"sn": [0.5, "boom"]})
    write_runs(tmp_path / "runs.csv", gather(tmp_path, table, "camvid"))
    with (tmp_path / "runs.csv").open() as file:
        reader = csv.DictReader(file)
        one, other = reader
    assert len(set(reader.fieldnames)) == len(reader.fieldnames)
    assert (one["method"], one["seed"], one["step"]) == ("sn", "0", "10")
    assert (one["cell"], one["miou"], one["loss/discriminator"]) == (
        "camvid_sn_1-2_seed0",
        "0.5",
        "0.3",
    )
    assert (other["miou"], other["error"], other["error_kind"]) == ("", "boom", "OSError")


def test_without_matplotlib_nothing_is_run(monkeypatch):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '.\[report\]'"):
        figures.check_installed()


def test_runs_of_other_labels_are_not_forgotten(tmp_path, monkeypatch, said):
    monkeypatch.setattr(report, "draw_figures", lambda *args: [])
    monkeypatch.setattr(figures, "draw_scores", lambda *args: None)
    table = fill(tmp_path, "2", "camvid", {"sn": [0.5]})
    report.write_report(tmp_path, table.with_labels(["1/8", "1"]), "camvid", said.append)
    assert said[1:] == ["not in it: runs with labels 1/2; --labels adds them"]
    report.write_report(tmp_path, table, "camvid", said.append)
    assert len(said) == 3


def test_a_report_of_another_dataset_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "check_installed", lambda: None)
    table = fill(tmp_path, "5", "camvid", {})
    write_csv(
        tmp_path / "table_5.csv", "camvid", gather(tmp_path, table, "camvid"), per_class=False
    )
    report.check(tmp_path, table, "camvid")
    with pytest.raises(InputError, match=r"table_5.csv: is of camvid, not voc; choose another"):
        report.check(tmp_path, table, "voc")


def test_recipes_do_not_stand_in_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "check_installed", lambda: None)
    table = fill(tmp_path, "5", "voc", {"sn": [0.5]})
    cell = table.cell("voc", table.rows[0], table.columns[0], 0)
    assert "config has" not in write_table(table, "voc", gather(tmp_path, table, "voc"))
    report.check(tmp_path, table, "voc", Recipe("voc"))
    other = Recipe("voc", weights={"": "other.npz"})
    with pytest.raises(InputError, match=r"with --weights of random, now it is other\.npz; choose"):
        report.check(tmp_path, table, "voc", other, table.cells("voc", 1))
    report.check(tmp_path, table, "voc", other, [cell])  # its own weights, of which there is no run
    diverged = {"cell": cell.name, "changes": {"num_steps": 7}, "error": "", "error_kind": DIVERGED}
    leave(tmp_path, cell, diverged)
    with pytest.raises(InputError, match=r"_1-2_seed0 was made with --set of"):
        report.check(tmp_path, table, "voc", Recipe("voc"))
    result = result_of(cell, 0.5, changes={"num_steps": 7})
    (results.folder_of(tmp_path, cell) / results.FILE).write_text(json.dumps(result))
    for overrides in ({}, {"num_steps": 7}):
        with pytest.raises(
            InputError, match=r"_1-2_seed0 was made with --set of \{.*choose another"
        ):
            report.check(tmp_path, table, "voc", Recipe("voc", overrides=overrides))
    report.check(tmp_path, table, "voc")
    text = write_table(table, "voc", gather(tmp_path, table, "voc"))
    assert "With num_steps=7: voc_advsemiseg_1-2_seed0\n" in text
    assert "With what the config has: voc_sn_1-2_seed0\n" in text


def test_a_recipe_of_all_runs_is_named_once(tmp_path):
    table = tables.TABLES["5"]
    cell = table.cell("voc", table.rows[0], table.columns[0], 0)
    leave(tmp_path, cell, result_of(cell, 0.5, changes={"num_steps": 7}))
    text = write_table(table, "voc", gather(tmp_path, table, "voc"))
    assert "\nAll with num_steps=7.\n" in text


@needs_matplotlib
@pytest.mark.parametrize(
    ("name", "labels", "shown", "compared"),
    [
        ("2", (), ("1/8", "1/4", "1/2", "1"), "1/2"),
        ("5", (), ("1/8", "1/4", "1/2", "1"), "1/2"),
        ("5", ("1/8",), ("1/8", "1/4", "1/2", "1"), "1/8"),
        ("2", ("1/32", "1"), ("1/32", "1"), "1/32"),
        ("2", ("1",), ("1/8", "1/4", "1/2", "1"), "1"),
    ],
)
def test_the_papers_pictures_are_of_the_tables_labels(
    tmp_path, monkeypatch, said, name, labels, shown, compared
):
    asked = []
    monkeypatch.setattr(report, "draw_figures", lambda *args: asked.append(args) or [])
    report.write_report(tmp_path, tables.TABLES[name].with_labels(labels), "scenes", said.append)
    assert asked == [(tmp_path, "scenes", shown, compared, "")]


@needs_matplotlib
@pytest.mark.parametrize(("name", "dataset"), [("2", "voc"), ("3", "voc"), ("stability", "scenes")])
@pytest.mark.parametrize("filled", [False, True])
def test_files_of_a_report(tmp_path, monkeypatch, said, name, dataset, filled):
    monkeypatch.setattr(report, "draw_figures", lambda *args: [tmp_path / "figure_3.png"])
    rows = {"advsemiseg": [0.5, 0.6], "sassn": ["boom"], "sn": [0.7]}
    known = {row.method for row in tables.TABLES[name].rows}
    names = {method: values for method, values in rows.items() if method in known}
    table = fill(tmp_path, name, dataset, names if filled and name != "3" else {})
    report.write_report(tmp_path, table, dataset, said.append)
    assert (tmp_path / f"table_{name}.md").read_text().startswith(f"# {table.title}")
    assert (tmp_path / f"table_{name}.csv").exists()
    assert (tmp_path / f"table_{name}_runs.csv").exists()
    with Image.open(tmp_path / f"table_{name}.png") as picture:
        assert picture.width > 500
    assert said[0].endswith(f"table_{name}.md, .csv, _runs.csv and .png")
