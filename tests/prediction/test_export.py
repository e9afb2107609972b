"""Programs for JAX alone: they give what the run gives, and need nothing of this project."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sassn_jax.conversion import stablehlo
from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.errors import InputError
from sassn_jax.models.generator import Generator
from sassn_jax.prediction import export
from sassn_jax.prediction.export import export_run
from tests.trees import random_variables

pytest.importorskip("flatbuffers")  # what JAX writes programs with

ROOT = Path(__file__).parents[2]
INFO = DatasetInfo("scenes", ("a", "[b]", "ç"), np.arange(9, dtype=np.uint8).reshape(3, 3))
IMAGE = Normalize("bgr", (104.0, 117.0, 123.0), (60.0, 61.0, 62.0))


@pytest.mark.parametrize(
    ("head", "implementation", "size"),
    [("deeplabv2", "reference", None), ("deeplabv3", "blockwise", (49, 33))],
)
def test_a_program_gives_what_the_network_gives(tmp_path, head, implementation, size):
    network = Generator(
        3,
        backbone="resnet_tiny",
        head=head,
        aspp_rates=(1, 2),
        attention=("layer4",),
        attention_implementation=implementation,
    )
    variables = random_variables(network, jnp.zeros((2, 33, 33, 3)), train=False)
    variables["params"]["attention4"]["alpha"] = jnp.float32(0.7)

    def predict(images):
        return jax.nn.softmax(network.apply(variables, images, train=False))

    program = stablehlo.make_program(predict, IMAGE, (40, 40))
    path = tmp_path / "model.stablehlo"
    about = stablehlo.write(path, program, INFO, size, lambda written: None)
    written = json.loads((tmp_path / "model.json").read_text())
    assert written == about | {"names": ["a", "[b]", "ç"]}
    assert b"sassn_jax/" not in path.read_bytes()  # no source file of the machine that wrote it
    assert str(ROOT).encode() not in path.read_bytes()

    reread, rng = stablehlo.read(path), np.random.default_rng(0)
    sizes = [(3, *size)] if size else [(2, 20, 71)]
    for batch, height, width in sizes:
        images = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        shown = np.stack([IMAGE(image) for image in images])
        missing = (0, max(0, 40 - height)), (0, max(0, 40 - width))
        shown = np.pad(shown, ((0, 0), *missing, (0, 0)))
        expected = np.asarray(jax.jit(predict)(jnp.asarray(shown)))[:, :height, :width]
        ids, probabilities = map(np.asarray, reread(images))
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, probabilities.argmax(-1))


def test_the_documented_example_runs_without_this_project(trained, run, tmp_path):
    about = export_run(trained, tmp_path / "model.stablehlo", format="stablehlo")
    assert about["largest_error"] < 1e-5
    assert about["step"] == 1
    example, text = tmp_path / "example.py", (ROOT / "docs" / "deploying.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    example.write_text("import sys\nsys.modules['sassn_jax'] = None\n" + code)
    pixels = np.random.default_rng(0).integers(0, 256, (41, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    files = [str(tmp_path / x) for x in ("model.stablehlo", "model.json", "photo.png", "out.png")]
    result = subprocess.run(
        [sys.executable, "-P", str(example), *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found = Image.open(tmp_path / "out.png")
    assert found.mode == "P"
    np.testing.assert_array_equal(np.asarray(found), run.predict(pixels).ids)


def test_a_program_that_differs_is_not_left(trained, run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MOST_ERROR", -1.0)
    with pytest.raises(InputError, match=r"model\.stablehlo: not written: its probabilities"):
        export_run(trained, tmp_path / "model.stablehlo", format="stablehlo", size=(33, 40))
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(tmp_path):
    with pytest.raises(InputError, match=r"format='onxx': expected one of safetensors, stablehlo"):
        export_run(tmp_path, tmp_path / "m.onxx", format="onxx")
    with pytest.raises(InputError, match=r"expected a name that ends in \.stablehlo"):
        export_run(tmp_path, tmp_path / "m.safetensors", format="stablehlo")
    with pytest.raises(InputError, match=r"size=\(2, 3\): a \.safetensors file has no size"):
        export_run(tmp_path, tmp_path / "m.safetensors", size=(2, 3))
