"""The time of prediction: ours, PyTorch's and ONNX Runtime's.

All take uint8 RGB images as arrays of the host, and return class ids and probabilities at the size
of the images, also on the host. They take turns, one round after another. A ratio is the median of
the ratios within each round, so it holds on a machine that is busy with other things.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from experiments.benchmarks import time_in_turn
from experiments.benchmarks.torch_network import (
    in_faster_format,
    make_generator,
    network_obstacle,
)
from sassn_jax.errors import InputError
from sassn_jax.methods import Method
from sassn_jax.prediction.export import ONE_VIEW, WHOLE
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.resampling import Size

OURS, TORCH, ONNX = "ours", "PyTorch", "ONNX Runtime"

Images = UInt8[np.ndarray, "B H W 3"]
Probabilities = Float[np.ndarray, "B H W C"]
Call = Callable[[Images], Probabilities]  # it also computes the class ids


def benchmark_inference(
    workdir: str | Path,
    batch_sizes: Sequence[int],
    size: Size | None,
    onnx: str | Path | None,
    rounds: int,
) -> dict[str, Any]:
    """Times the prediction of whole images, by batch size.

    Args:
      workdir: of a run, or a file of `sassn export`. Its windows, scales, mirroring and padding are
        left out: each image is shown to the network once, as it is.
      batch_sizes: images in a call.
      size: height and width of the images; None for those of the run's crops.
      onnx: a file that `sassn export --format=onnx` wrote from this run; None for none.
      rounds: how many times each is called, after a first time that is not counted.

    Returns:
      `size`, and for each of `batches` its `batch_size` and by name of the `implementations`: the
      median, the least and the most `seconds` of a call, `images_per_second`, and the
      `largest_difference` of a probability from ours; with PyTorch also our `ratio_to_torch`.
      Without PyTorch, `not_compared` says why.

    Raises:
      InputError: if there is no such run; if the ONNX file, or ONNX Runtime, is missing; if the
        file does not take such images.
    """
    run = load_run(workdir, overrides=ONE_VIEW | WHOLE | {"eval.pad_to": ()})
    height, width = size or run.config.crop_size
    obstacle = _torch_obstacle(run)
    result: dict[str, Any] = {"size": [height, width], "batches": []}
    if obstacle:
        result["not_compared"] = obstacle
    shape = height, width, 3
    for batch_size in batch_sizes:
        images = np.random.default_rng(0).integers(0, 256, (batch_size, *shape), np.uint8)
        calls = {OURS: _ours(run, batch_size)}
        if obstacle is None:
            calls[TORCH] = _torch(run, images)
        if onnx:
            calls[ONNX] = call_of_onnx(Path(onnx), images, run.info.num_classes)
        result["batches"].append({"batch_size": batch_size, **_time(calls, images, rounds)})
    return result


def _time(calls: dict[str, Call], images: Images, rounds: int) -> dict[str, Any]:
    expected = calls[OURS](images)  # these first calls also compile
    differences = {name: np.abs(call(images) - expected).max() for name, call in calls.items()}
    bound = {name: functools.partial(call, images) for name, call in calls.items()}
    seconds = time_in_turn(bound, 0, rounds)
    figures: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        median = float(np.median(times))
        figures[name] = {
            "seconds": {"median": median, "least": min(times), "most": max(times)},
            "images_per_second": len(images) / median,
            "largest_difference": float(differences[name]),
        }
    if TORCH not in calls:
        return {"implementations": figures}
    ratios = np.divide(seconds[OURS], seconds[TORCH])
    return {"implementations": figures, "ratio_to_torch": float(np.median(ratios))}


def _ours(run: Run, batch_size: int) -> Call:
    """Returns what `Run.predict` does with a list of images."""
    # The memory is not limited here, so that a batch is predicted as a whole.
    predictor = dataclasses.replace(run.predictor(max_memory=1e6), batch_size=batch_size)
    return lambda images: np.stack([x.probabilities for x in predictor.stream(images)])


def _torch_obstacle(run: Run) -> str | None:
    if type(run.method).predict is not Method.predict:
        return f"its side has G alone, and method={run.config.method!r} predicts with more"
    return network_obstacle(run.config.model)


def _torch(run: Run, images: Images) -> Call:
    """Returns the same in PyTorch, in the faster memory format."""
    import torch

    normalize = run.config.image
    mean, std = (torch.tensor(x)[:, None, None] for x in (normalize.mean, normalize.std))

    def make(memory_format: torch.memory_format) -> Call:
        model, num_classes = run.config.model, run.info.num_classes
        network = make_generator(model, num_classes, run.variables, memory_format).eval()

        @torch.inference_mode()
        def predict(images: Images) -> Probabilities:
            if normalize.channel_order == "bgr":
                images = np.ascontiguousarray(images[..., ::-1])
            x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std
            probabilities = network(x.contiguous(memory_format=memory_format)).softmax(1)
            probabilities.max(1)  # the class ids, and their probabilities
            return probabilities.permute(0, 2, 3, 1).numpy()

        return predict

    return in_faster_format(make, images)


def call_of_onnx(path: Path, images: Images, num_classes: int) -> Call:
    """Returns a call of ONNX Runtime, on the CPU and with its own number of threads."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"onnx={str(path)!r}: onnxruntime is not installed; pip install 'sassn_jax[onnx]'"
        ) from None
    if not path.is_file():
        raise InputError(f"onnx={str(path)!r}: no such file; sassn export --format=onnx writes one")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        outputs = [x.name for x in session.get_outputs()]
        results = session.run(outputs, {taken.name: images})
    except Exception as error:  # ONNX Runtime has many of its own, and a sentence in each
        reason = " ".join(str(error).split())
        raise InputError(
            f"onnx={str(path)!r}: cannot predict {images.shape} uint8 RGB images: {reason}"
        ) from None
    shape = (*images.shape[:3], num_classes)
    places = [i for i, x in enumerate(results) if x.dtype == np.float32 and x.shape == shape]
    if len(places) != 1:
        raise InputError(f"onnx={str(path)!r}: gives no probabilities of shape {shape}")
    return lambda images: session.run(outputs, {taken.name: images})[places[0]]
