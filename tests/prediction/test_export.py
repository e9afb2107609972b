"""Programs for JAX or ONNX Runtime: they give what the run gives, and need nothing else."""

import dataclasses
import importlib.util
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

from sassn_jax.conversion import onnx, stablehlo
from sassn_jax.conversion.program import make_program
from sassn_jax.data import Normalize
from sassn_jax.errors import InputError
from sassn_jax.inference import Inference
from sassn_jax.models.generator import Generator
from sassn_jax.prediction import export
from sassn_jax.prediction.export import export_run
from sassn_jax.recipes import override
from tests.trees import random_variables

ROOT = Path(__file__).parents[2]
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime"))),
    reason="pip install 'sassn_jax[onnx]' runs these tests",
)
IMAGE = Normalize("bgr", (104.0, 117.0, 123.0), (60.0, 61.0, 62.0))


@pytest.mark.parametrize(
    ("file_format", "head", "implementation", "size"),
    [
        (stablehlo, "deeplabv2", "reference", None),
        (stablehlo, "deeplabv3", "blockwise", (49, 33)),
        pytest.param(onnx, "deeplabv2", "reference", (49, 33), marks=needs_onnx),
        pytest.param(onnx, "deeplabv3", "reference", (30, 65), marks=needs_onnx),
    ],
)
def test_a_program_gives_what_the_network_gives(tmp_path, file_format, head, implementation, size):
    network = Generator(
        3,
        backbone="resnet_tiny",
        head=head,
        aspp_rates=(1, 2),
        attention=("layer4",),
        attention_implementation=implementation,
    )
    variables = random_variables(network, jnp.zeros((2, 33, 33, 3)), train=False)

    @jax.jit
    def predict(images):
        return jax.nn.softmax(network.apply(variables, images, train=False))

    program = make_program(predict, IMAGE, Inference(pad_to=(40, 40)))
    content = file_format.serialize(program, size)
    assert b"sassn_jax/" not in content  # no source file of the machine that wrote it
    assert str(ROOT).encode() not in content
    path = tmp_path / "model"
    path.write_bytes(content)

    reread, rng = file_format.read(path), np.random.default_rng(0)
    sizes = [(1, *size), (3, *size)] if size else [(2, 20, 71)]
    for batch, height, width in sizes:
        images = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        shown = np.stack([IMAGE(image) for image in images])
        missing = (0, max(0, 40 - height)), (0, max(0, 40 - width))
        shown = np.pad(shown, ((0, 0), *missing, (0, 0)))
        expected = np.asarray(predict(jnp.asarray(shown)))[:, :height, :width]
        ids, probabilities = map(np.asarray, reread(images))
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, probabilities.argmax(-1))


@pytest.mark.parametrize(
    ("file_format", "size"), [("stablehlo", None), pytest.param("onnx", (41, 50), marks=needs_onnx)]
)
def test_the_documented_example_runs_without_this_project(
    trained, run, tmp_path, file_format, size
):
    model = tmp_path / f"model.{file_format}"
    about = export_run(trained, model, format=file_format, size=size)
    assert about["largest_error"] < 1e-5
    assert about["step"] == 1
    written = json.loads((tmp_path / "model.json").read_text())
    assert about | written | {"names": tuple(written["names"])} == about
    text = (ROOT / "docs" / "deploying.md").read_text()
    (code,) = re.findall(rf"```python\n([^`]*?\.{file_format}.*?)```", text, re.DOTALL)
    example = tmp_path / "example.py"
    absent = {"stablehlo": ("sassn_jax",), "onnx": ("sassn_jax", "jax")}[file_format]
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in absent)
    example.write_text("import sys\n" + hidden + code)
    pixels = np.random.default_rng(0).integers(0, 256, (41, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    files = [str(tmp_path / x) for x in ("photo.png", "out.png")]
    command = [sys.executable, "-P", str(example), str(model), str(tmp_path / "model.json"), *files]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = Image.open(tmp_path / "out.png")
    assert found.mode == "P"
    np.testing.assert_array_equal(np.asarray(found), run.predict(pixels).ids)


@pytest.mark.parametrize(
    ("file_format", "size"),
    [
        ("stablehlo", None),
        ("stablehlo", (41, 50)),
        pytest.param("onnx", (30, 60), marks=needs_onnx),
    ],
)
def test_a_program_shows_images_as_the_run_is_scored(
    trained, run, tmp_path, monkeypatch, file_format, size
):
    """With a size, windows are part of it; what is not is told."""
    fields = {"eval.window": (32, 48), "eval.stride": (20, 30), "eval.mirror": True}
    scored = dataclasses.replace(run, config=override(run.config, fields))
    monkeypatch.setattr(export, "load_run", lambda *arguments: scored)
    path = tmp_path / f"model.{file_format}"
    about = export_run(trained, path, format=file_format, size=size)
    window = {} if size else {"eval.window": (32, 48)}
    assert about["left_out"] == {"eval.mirror": True} | window
    image = np.random.default_rng(0).integers(0, 256, (*(size or (41, 50)), 3), dtype=np.uint8)
    reader = {"stablehlo": stablehlo, "onnx": onnx}[file_format]
    _, (probabilities,) = reader.read(path)(image[None])
    one_view = {"eval.mirror": False} | ({} if size else {"eval.window": (), "eval.stride": ()})
    shown = dataclasses.replace(scored, config=override(scored.config, one_view))
    np.testing.assert_allclose(probabilities, shown.predict(image).probabilities, atol=1e-5)


def test_a_program_that_differs_is_not_left(trained, run, tmp_path, monkeypatch):
    path = tmp_path / "model.stablehlo"
    monkeypatch.setattr(export, "MOST_ERROR", -1.0)
    monkeypatch.setattr(export, "_ROUNDING", -1.0)
    with pytest.raises(InputError, match=r"model\.stablehlo: not written: its probabilities"):
        export_run(trained, path, format="stablehlo", size=(33, 40))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(export, "_ROUNDING", 1e-3)  # as if its logits were large
    export_run(trained, path, format="stablehlo", size=(33, 40))
    assert path.is_file()


def test_programs_that_need_a_size(trained, run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"format='onnx' needs size: height and width of all"):
        export_run(trained, tmp_path / "m.onnx", format="onnx")
    monkeypatch.setattr(export, "is_vgg", lambda backbone: True)
    message = r"format='stablehlo' of a network on a VGG needs size: height and width"
    with pytest.raises(InputError, match=message):
        export_run(trained, tmp_path / "m.stablehlo", format="stablehlo")


def test_wrong_arguments(tmp_path):
    with pytest.raises(
        InputError, match=r"format='onxx': expected one of safetensors, stablehlo, onnx"
    ):
        export_run(tmp_path, tmp_path / "m.onxx", format="onxx")
    with pytest.raises(InputError, match=r"expected a name that ends in \.stablehlo"):
        export_run(tmp_path, tmp_path / "m.safetensors", format="stablehlo")
    with pytest.raises(InputError, match=r"size=\(2, 3\): a \.safetensors file has no size"):
        export_run(tmp_path, tmp_path / "m.safetensors", size=(2, 3))
