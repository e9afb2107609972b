"""Memory grows with N, not with N^2. `make gpu-check` checks that of the kernels."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from pallas_kernels.position_attention import position_attention

from .definition import and_gradients

GIB = 2**30


def scratch(implementation, positions, qk_width=256, v_width=2048):
    """Bytes of scratch that the forward and backward pass of one image take."""
    attention = functools.partial(position_attention, implementation=implementation)
    arguments = [
        jax.ShapeDtypeStruct((1, positions, width), jnp.float32)
        for width in (qk_width, qk_width, v_width, v_width)
    ]
    program = jax.jit(functools.partial(and_gradients, attention)).lower(*arguments).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_scratch_grows_with_the_number_of_positions():
    small, large = scratch("blockwise", 4096), scratch("blockwise", 16384)
    assert large <= 4.5 * small


def test_scratch_of_the_reference_grows_with_its_square():
    """So the test above would notice."""
    small, large = scratch("reference", 4096), scratch("reference", 16384)
    assert large > 15 * small
    assert large > 2 * 4 * 16384**2


@pytest.mark.slow
def test_65536_positions_run_in_less_than_4_gib():
    """The scores alone would take 16 GiB. A process of its own shows the peak of this run."""
    program = """
import functools, resource
import jax
import jax.numpy as jnp
import numpy as np
from pallas_kernels.position_attention import position_attention
from tests.pallas_kernels.definition import and_gradients, arrays

attention = functools.partial(position_attention, implementation="blockwise")
inputs = arrays(1, 65536, 64, 512)
results = jax.jit(functools.partial(and_gradients, attention))(*inputs)
assert all(bool(jnp.isfinite(x).all()) for x in results)
rows = np.array([0, 40000, 65535])
q, k, v = (np.asarray(x[0], np.float64) for x in inputs[:3])
scores = q[rows] @ k.T
weights = np.exp(scores - scores.max(-1, keepdims=True))
expected = weights / weights.sum(-1, keepdims=True) @ v
assert np.abs(np.asarray(results[0])[0, rows] - expected).max() < 2e-6 * np.abs(expected).max()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert int(result.stdout) * 1024 < 4 * GIB
