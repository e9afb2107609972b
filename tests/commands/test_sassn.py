"""The console entry `sassn`, from outside."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sassn_jax.commands import VERBS
from tests.commands import forked

ROOT = Path(__file__).parents[2]
# With -P, as in a script that pip has made, the working folder is not on the path.
SASSN = ("-P", "-c", "from sassn_jax.commands import main; main()")


def run(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *SASSN, *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def assert_fits_a_screen(text):
    """One of 40 lines of 100 columns."""
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert "flags:" in lines
    assert "(default: '')" not in text


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_it_lists_the_verbs_with_a_line_each_and_an_example(words):
    result = run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    listed = result.stdout.splitlines()[2 : 2 + len(VERBS)]
    assert [line.split()[0] for line in listed] == list(VERBS)
    assert "\n  sassn train --config=" in result.stdout


def test_a_wrong_verb_is_one_line_that_lists_them():
    result = run("tarin", "--workdir=x")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line == f"sassn: 'tarin': expected one of {', '.join(VERBS)}; see sassn --help"


def test_its_version_is_the_packages():
    assert run("--version").stdout.strip() == importlib.metadata.version("sassn_jax")


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_that_of_the_command_in_the_checkout(verb):
    result = forked.run("sassn", verb, "--help")
    assert result.returncode == 0, result.stderr
    assert f"sassn {verb} --" in result.stdout
    assert_fits_a_screen(result.stdout)
    assert result.stdout == forked.run(f"experiments.{verb}", "--help").stdout


@pytest.mark.parametrize("verb", ["benchmark", "demo", "gpu_check", "plan", "reproduce"])
def test_help_of_what_a_checkout_has(verb):
    result = forked.run(f"experiments.{verb}", "--help")
    assert result.returncode == 0, result.stderr
    assert_fits_a_screen(result.stdout)
    assert re.search(rf"^    (make {verb}|python -m experiments.{verb}) .*--", result.stdout, re.M)


def test_mistakes_name_the_flag(tmp_path):
    config = f"--config={ROOT / 'configs' / 'scenes.py'}"
    begin, go_on = f"train {config} --workdir={tmp_path}/run", f"train --workdir={tmp_path}/run"
    no_run = f"{tmp_path / 'run'}: no config.json; "
    no_flag, no_field = "there is no such flag; ", "--config has no field "
    mistakes = {
        f"train {config}": "--workdir: not given; see --help",
        f"{begin} --config.num_steps=0": "--config.num_steps=0: exp",
        f"{begin} --config.model.norm=x": "--config.model.norm='x':",
        go_on: "--config: not given; see --help",
        f"{go_on} --continue_to=9": no_run,
        f"{go_on} --continue_to=9 --data_dir=x": no_run,
        f"{go_on} --continue_to=9 --config.data_dir=x --config.source=y": no_run,
        f"{go_on} --continue_to=9 --config.seed=1": f"{no_field}seed; see --help",
        f"{begin} --continue_to=9": (
            "--continue_to=9: expected without --config; the workdir has the run's"
        ),
        "prepare --dataset=x --source=x --data_dir=x": "--dataset='x': ",
        "prepare --datset=x": f"--datset: {no_flag}did you mean --dataset?",
        "inspect --xyz": f"--xyz: {no_flag}see --help",
        f"{begin} --epochs=3": f"--epochs: {no_flag}did you mean --config.num_steps?",
        f"{begin} --lr=1": f"--lr: {no_flag}did you mean --config.optimizer.lr?",
        f"{begin} --config.num_step=3": f"{no_field}num_step; did you mean num_steps?",
        f"{begin} --config.backbone=x": f"{no_field}backbone; did you mean model.backbone?",
        f"{begin} --config.xyz=3": f"{no_field}xyz; see docs/configuration.md",
    }
    for line, message in mistakes.items():
        verb, *words = line.split()
        result = forked.run("sassn", verb, *words)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
        assert result.stderr.startswith(f"sassn {verb}: {message}"), result.stderr


def test_a_config_can_import_its_neighbours(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "shared.py").write_text("from ml_collections import ConfigDict")
    recipe = "from recipes.shared import ConfigDict\ndef get_config(): return ConfigDict()"
    (tmp_path / "recipes" / "mine.py").write_text(recipe)
    result = run("train", "--config=recipes/mine.py", cwd=tmp_path)
    assert result.stderr == "sassn train: --workdir: not given; see --help\n"
