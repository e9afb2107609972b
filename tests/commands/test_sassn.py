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
    workdir = f"--workdir={tmp_path / 'run'}"
    mistakes = {
        ("train", config): "sassn train: --workdir: not given; see --help",
        (
            "train",
            config,
            workdir,
            "--config.num_steps=0",
        ): "sassn train: --config.num_steps=0: exp",
        (
            "train",
            config,
            workdir,
            "--config.model.norm=x",
        ): "sassn train: --config.model.norm='x':",
        ("train", workdir): "sassn train: --config: not given; see --help",
        ("train", workdir, "--continue_to=9"): f"sassn train: {tmp_path / 'run'}: no config.json; ",
        (
            "train",
            workdir,
            "--continue_to=9",
            "--data_dir=x",
        ): f"sassn train: {tmp_path / 'run'}: no config.json; ",
        (
            "train",
            workdir,
            "--continue_to=9",
            "--config.data_dir=x",
            "--config.source=y",
        ): f"sassn train: {tmp_path / 'run'}: no config.json; ",
        (
            "train",
            workdir,
            "--continue_to=9",
            "--config.seed=1",
        ): "sassn train: --config has no field seed; see --help",
        (
            "train",
            config,
            workdir,
            "--continue_to=9",
        ): "sassn train: --continue_to=9: expected without --config; the workdir has the run's",
        ("prepare", "--dataset=x", "--source=x", "--data_dir=x"): "sassn prepare: --dataset='x': ",
        (
            "prepare",
            "--datset=x",
        ): "sassn prepare: --datset: there is no such flag; did you mean --dataset?",
        ("inspect", "--xyz"): "sassn inspect: --xyz: there is no such flag; see --help",
    }
    for words, line in mistakes.items():
        result = forked.run("sassn", *words)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
        assert result.stderr.startswith(line), result.stderr


def test_a_config_can_import_its_neighbours(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "shared.py").write_text("from ml_collections import ConfigDict")
    recipe = "from recipes.shared import ConfigDict\ndef get_config(): return ConfigDict()"
    (tmp_path / "recipes" / "mine.py").write_text(recipe)
    result = run("train", "--config=recipes/mine.py", cwd=tmp_path)
    assert result.stderr == "sassn train: --workdir: not given; see --help\n"
