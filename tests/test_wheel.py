"""The wheel in an empty environment, without the checkout. Minutes long: `make test-wheel`."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from sassn_jax.prediction.export import export_run
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import make_runs_small, tiny_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
UV = Path(sysconfig.get_path("scripts")) / "uv"
SCRIPT = """
import jax
import numpy as np
import sassn_jax

assert not sassn_jax.__file__.startswith(CHECKOUT), sassn_jax.__file__
image = np.zeros((40, 56, 3), np.uint8)
labels = sassn_jax.load("model.safetensors").predict(image).ids
assert labels.shape == (40, 56) and labels.max() < 8, labels

generator = sassn_jax.Generator(
    num_classes=5, backbone="resnet_tiny", attention=("layer4",), aspp_rates=(1, 2)
)
images = jax.numpy.zeros((2, 33, 33, 3))
variables = generator.init(jax.random.key(0), images, train=False)
logits = generator.apply(variables, images, train=False)
assert logits.shape == (2, 33, 33, 5), logits.shape

config = sassn_jax.default_config(method="sassn", dataset="scenes")
config.model.backbone = "resnet_tiny"
config.model.norm = "batch"
config.model.aspp_rates = (1, 2)
config.crop_size = (32, 32)
config.batch_size = 2
config.num_steps = 3
config.loss.semi_start = 1
config.eval_batch_size = 32
state = sassn_jax.train(config, "run")
assert int(state.step) == 3, state.step
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a program that must succeed, and returns what it prints."""
    # Without the path to the checkout that tests may have been given.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the wheel, built from a copy so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("sassn_jax", "pallas_kernels", "configs", "experiments"):
        shutil.copytree(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir=dist", ".", cwd=source)
    (path,) = (source / "dist").glob("sassn_jax-*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    run(UV, "venv", "--quiet", f"--python={sys.executable}", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    command = (UV, "pip", "install", "--quiet", f"--python={python}", wheel)
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"no dependencies, as without a package index: {installed.stderr}")
    return python.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with an exported network, `model.safetensors`."""
    folder = tmp_path_factory.mktemp("user")
    config = tiny_config("sassn")
    config.num_steps = config.eval_every = 1
    config.loss.semi_start = 0
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        train_and_evaluate(config, folder / "exported")
        export_run(folder / "exported", folder / "model.safetensors")
    return folder


def test_it_holds_the_library_alone_with_its_types(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "sassn_jax",
        "pallas_kernels",
    }
    assert {"sassn_jax/py.typed", "pallas_kernels/py.typed"} <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "sassn_jax").rglob("*.py")}
    assert modules <= set(names)


def test_the_library_works_without_the_checkout(scripts: Path, folder: Path):
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("CHECKOUT", repr(str(ROOT))))
    run(scripts / "python", script, cwd=folder)
    assert (folder / "run" / "eval_val.json").exists()


def test_the_command_works_without_the_checkout(scripts: Path, folder: Path):
    assert "import_weights" in run(scripts / "sassn", "--help", cwd=folder)
    flags = ("--workdir=model.safetensors", "--split=test")
    assert "gate_open" in run(scripts / "sassn", "evaluate", *flags, cwd=folder)
    assert (folder / "model_eval_test.json").exists()
