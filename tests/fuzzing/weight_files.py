"""Files of weights: of other projects and of ours."""

from pathlib import Path

import numpy as np

from tests.fuzzing import mutations
from tests.fuzzing.pictures import CLASSES, COLORS, RNG


def arrays() -> dict[str, np.ndarray]:
    return {
        "conv1.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn1.bias": np.zeros(4),
        "bn1.num_batches_tracked": np.array(7),
    }


def npz(folder: Path) -> None:
    np.savez(folder / "a.npz", **arrays())
    np.savez_compressed(folder / "b.npz", **arrays())


def read_npz(path: Path) -> None:
    from sassn_jax.weights import npz

    npz.names(path)
    npz.read(path)


def exports(folder: Path) -> None:
    from sassn_jax.conversion.exporting import write_export
    from sassn_jax.data import DatasetInfo
    from sassn_jax.recipes import default_config

    info = DatasetInfo("folder", CLASSES, np.array(COLORS, np.uint8))
    variables = {"params": {"backbone": {"conv1": {"kernel": RNG.normal(size=(3, 3, 3, 4))}}}}
    config = default_config("supervised", dataset="folder").to_dict()
    path = folder / "a.safetensors"
    write_export(path, variables, config=config, info=info, step=3)


def read_export(path: Path) -> None:
    from sassn_jax.conversion.exporting import read_export
    from sassn_jax.recipes import parse, resolve
    from sassn_jax.weights import store

    store.read_arrays(path)
    config = parse({"model": {"weights": str(path), "backbone": "resnet101"}})
    resolve(config)
    parse(read_export(path).config)


def networks(folder: Path) -> None:
    import jax

    from sassn_jax import methods
    from sassn_jax.conversion.exporting import write_export
    from sassn_jax.data import DatasetInfo
    from sassn_jax.recipes import default_config, parse
    from sassn_jax.training.setup import abstract_state

    config = default_config("supervised", dataset="folder", crop_size=(33, 33), batch_size=2)
    config.model.backbone = "resnet_tiny"
    config = parse(config)
    method = methods.create(config, len(CLASSES), 255)
    shapes = method.inference_variables(abstract_state(method, config))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    info = DatasetInfo("folder", CLASSES, np.array(COLORS, np.uint8))
    fields = config.to_dict()
    write_export(folder / "a.safetensors", variables, config=fields, info=info, step=3)


def read_network(path: Path) -> None:
    from sassn_jax.prediction.run import load_run

    load_run(path)


def onnx(folder: Path) -> None:
    from tests.weights.test_onnx import graph_of, write

    convs = [f"layer{i}.0.{x}" for i in range(1, 5) for x in ("conv1", "conv2", "conv3")]
    convs += [f"layer{i}.0.downsample.0" for i in range(1, 5)]
    weights = {f"{name}.weight": np.ones((2, 2, 1, 1), np.float32) for name in (*convs, "conv1")}
    biases = {f"{name}.bias": np.ones(2, np.float32) for name in (*convs, "conv1")}
    write(folder / "a.onnx", *graph_of({**weights, **biases}))


def read_onnx(path: Path) -> None:
    from sassn_jax.weights import onnx

    onnx.read(path)


def pth(folder: Path) -> None:
    from tests.weights.test_pth import tensor, write_legacy, write_zip

    tree = {"state_dict": {"a.weight": tensor(), "a.bias": tensor(size=(12,), stride=(1,))}}
    write_zip(folder / "zip.pth", tree)
    write_legacy(folder / "legacy.pth", tree)


def change_pth(content: bytes, rng: object) -> bytes:
    is_zip = content.startswith(b"PK")
    change = mutations.any_zip(mutations.any_bytes) if is_zip else mutations.any_bytes
    return change(content, rng)


def read_pth(path: Path) -> None:
    from sassn_jax.weights import pth

    pth.read(path)
