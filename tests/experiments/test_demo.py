import json
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from PIL import Image

from configs import demo as demo_config
from experiments import demo
from tests.training.conftest import make_networks_tiny, tiny_config


@pytest.mark.usefixtures("fast_compile")
def test_the_table_and_the_picture(tmp_path, monkeypatch, capsys):
    def config(argument, get_config=demo_config.get_config):
        tiny = tiny_config(get_config(argument).method)
        tiny.num_steps = 1
        return tiny

    monkeypatch.setattr(demo_config, "get_config", config)
    monkeypatch.setattr("sassn_jax.data.scenes.SPLIT_SIZES", {"train": 32, "val": 2, "test": 16})
    make_networks_tiny(monkeypatch)
    recipe, rows = demo.SUBJECTS["attention"]
    monkeypatch.setitem(demo.SUBJECTS, "attention", (recipe, rows[:2]))
    flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(flags.FLAGS["workdir"], "value", str(tmp_path))

    demo.main()
    shown = capsys.readouterr().out
    assert "supervised" in shown
    assert "advsemiseg" in shown
    assert "tensorboard --logdir" in shown
    written = json.loads((tmp_path / "demo.json").read_text())
    assert {name: len(results) for name, results in written.items()} == {
        "supervised": 1,
        "advsemiseg": 1,
    }
    # Input, truth and two predictions of 96 pixels, gaps of 4, for four images.
    with Image.open(tmp_path / "predictions.png") as picture:
        assert picture.size == (3 * (4 * 96 + 3 * 4), 40 + 3 * (4 * 96 + 3 * 4))

    monkeypatch.setattr("sassn_jax.training.loop.train_and_evaluate", None)
    demo.main()  # what is there is not done again
    assert json.loads((tmp_path / "demo.json").read_text()) == written


@pytest.mark.slow
def test_attention_tells_the_look_alikes_apart(tmp_path):
    """Over three seeds, on average at least 0.15 above what AdvSemiSeg reaches."""
    command = [sys.executable, "-m", "experiments.demo", f"--workdir={tmp_path}", "--seeds=3"]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    results = json.loads((tmp_path / "demo.json").read_text())
    mean = {
        method: sum(run["look_alike_iou"] for run in runs) / len(runs)
        for method, runs in results.items()
    }
    assert mean["sassn"] - mean["advsemiseg"] >= 0.15, mean


@pytest.mark.slow
def test_images_without_masks_pay(tmp_path):
    """Over three seeds, at least a quarter of the way from few labels to all, and in each seed."""
    command = [sys.executable, "-m", "experiments.demo", "--subject=unlabelled", "--seeds=3"]
    command.append(f"--workdir={tmp_path}")
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    results = json.loads((tmp_path / "demo.json").read_text())
    few, method, everything = (
        [run["miou"] for run in results[name]] for name in ("supervised", "cutmix", "all_labels")
    )
    assert all(x > y for x, y in zip(method, few, strict=True)), results
    assert sum(method) - sum(few) > (sum(everything) - sum(few)) / 4, results
