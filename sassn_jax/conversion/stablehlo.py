"""A trained network as a StableHLO program, which runs wherever JAX does, without `sassn_jax`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
from jax import export

from sassn_jax.conversion.program import Program, argument
from sassn_jax.resampling import Size

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(program: Program, size: Size | None) -> bytes:
    """Returns a program for CPUs, CUDA and TPUs as the content of a file.

    Args:
      program: of `make_program`.
      size: height and width of all images. None leaves them open, as the number of images is.
    """
    with _without_source_lines():
        exported = export.export(jax.jit(program), platforms=PLATFORMS)(argument(size))
    return bytes(exported.serialize())


def read(path: Path) -> Program:
    """Returns the program in a file of `serialize`; it is compiled for each new size."""
    return export.deserialize(bytearray(path.read_bytes())).call


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Keeps the names of source files on this machine out of a program."""
    limit = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, limit)
    jax.config.update(limit, 0)
    try:
        yield
    finally:
        jax.config.update(limit, before)
