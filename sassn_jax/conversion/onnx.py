"""A trained network as an ONNX model, for ONNX Runtime and what else reads the format."""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from sassn_jax.conversion.program import INPUT, OUTPUTS, Program, argument
from sassn_jax.errors import InputError
from sassn_jax.resampling import Size

OPSET = 18  # of early 2023, so that also older runtimes read the file
# Calls of a function, with the name of the parameter that holds it.
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def serialize(program: Program, size: Size) -> bytes:
    """Returns a program as the content of a file, for any number of images of one size.

    Its input is called `images`, its outputs `ids` and `probabilities`.

    Args:
      program: of `make_program`.
      size: height and width of all images.

    Raises:
      InputError: if jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError:
        raise InputError(
            "format='onnx': jax2onnx is not installed; pip install 'sassn_jax[onnx]'"
        ) from None
    shape = argument(size)
    traced = jax.make_jaxpr(program)(shape)
    with _errors_alone("jax2onnx", "onnx_ir"):
        model = jax2onnx.to_onnx(
            lambda images: tuple(_evaluate(traced, images)),
            inputs=[shape],
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            model_name="sassn_jax",
            opset=OPSET,
        )
    return model.SerializeToString()


@contextlib.contextmanager
def _errors_alone(*names: str) -> Iterator[None]:
    """Lets loggers tell of errors alone, within a block.

    jax2onnx warns of each of its own examples that cannot be imported, and of types it leaves open.
    """
    loggers = [logging.getLogger(name) for name in names]
    former = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, former, strict=True):
            logger.setLevel(level)


def read(path: Path) -> Program:
    """Returns the program in a file of `serialize`, run by ONNX Runtime on the CPU.

    Raises:
      InputError: if ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path}: onnxruntime is not installed; pip install 'sassn_jax[onnx]'"
        ) from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Any) -> tuple[np.ndarray, np.ndarray]:
        ids, probabilities = session.run(list(OUTPUTS), {INPUT: np.asarray(images)})
        return ids, probabilities

    return run


def _evaluate(function: ClosedJaxpr, *arguments: Any) -> list[Any]:
    """Evaluates a traced function without what jax2onnx 0.17 cannot convert.

    Functions that are called, with a gradient of their own or without, are evaluated in their
    place; padding is written as concatenation, since that of an open number of images fails.
    """
    values = dict(zip(function.jaxpr.constvars, function.consts, strict=True))
    values |= dict(zip(function.jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in function.jaxpr.eqns:
        operands, name = [value(x) for x in equation.invars], equation.primitive.name
        if name in _CALLS:
            results = _evaluate(equation.params[_CALLS[name]], *operands)
        elif name == "stop_gradient":
            results = operands
        elif name == "pad":
            results = [_pad(operands[0], operands[1], equation.params["padding_config"])]
        else:
            found = equation.primitive.bind(*operands, **equation.params)
            results = found if equation.primitive.multiple_results else [found]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [value(x) for x in function.jaxpr.outvars]


def _pad(x: Any, filler: Any, config: Iterable[tuple[Any, Any, Any]]) -> Any:
    """Pads an array as `lax.pad` does, where nothing is to be put between its elements."""
    for axis, (before, after, between) in enumerate(config):
        if between or before < 0 or after < 0:
            raise NotImplementedError(f"padding {config}")
        parts = [x]
        for count, place in ((before, 0), (after, 2)):
            if count:
                shape = *x.shape[:axis], count, *x.shape[axis + 1 :]
                parts.insert(place, lax.broadcast_in_dim(filler, shape, ()))
        x = lax.concatenate(parts, axis)
    return x
