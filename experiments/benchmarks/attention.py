"""The time of position attention: ours, and PyTorch's.

All implementations take turns, one round after another. A ratio is the median of the ratios within
each round, so it holds on a machine that is busy with other things.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attention_shapes import SHAPES, AttentionShape
from experiments.benchmarks import time_in_turn
from experiments.described_gpu.attention import forward_and_backward
from pallas_kernels.position_attention import position_attention
from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")
SDPA = "PyTorch SDPA"
_PEAK = "peak"
# Sides of a square matmul that reaches the peak. With 2048 a GPU was measured at a twentieth of its
# peak: the call took longer than the product.
_PEAK_SIZES = {"cpu": 2048, "gpu": 16384, "tpu": 16384}

Run = Callable[[], Any]  # returns when its result is complete


def benchmark_attention(
    shapes: Sequence[str] | None, implementations: Sequence[str], dtypes: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Times the forward pass alone, and the forward pass with all gradients.

    A forward pass counts as 2 B N^2 (Dqk + Dv) operations, the gradients as twice as many:
    operations that are done again do not count.

    Args:
      shapes: names in `SHAPES`, or sizes such as `1x8385x64x512`; None for all names.
      implementations: names in `IMPLEMENTATIONS`.
      dtypes: of q, k and v, names in `DTYPES`.
      rounds: how many times each is run, after a first time that is not counted.

    Returns:
      `cases`. Each has medians in seconds for our implementations and, where it is installed, for
      PyTorch, and `peak_flops_per_second` of a matmul of two square matrices of
      `peak_size`, timed in the same rounds.

    Raises:
      InputError: unknown name or wrong size in `shapes`; JAX has no device.
    """
    check_platform()
    named = {name: _shape(name) for name in (SHAPES if shapes is None else shapes)}
    cases = []
    for name, shape in named.items():
        for dtype in dtypes:
            figures = _time_case(shape, implementations, dtype, rounds)
            cases.append({"shape": name, "dtype": dtype, **vars(shape), **figures})
    return {"cases": cases}


def _shape(name: str) -> AttentionShape:
    if name in SHAPES:
        return SHAPES[name]
    try:
        sizes = [int(x) for x in name.split("x")]
    except ValueError:
        sizes = []
    if len(sizes) != 4 or min(sizes) < 1:
        raise InputError(
            f"--shapes: {name!r}: expected some of {', '.join(SHAPES)}, or batch x positions x "
            "qk_width x v_width such as 1x8385x64x512"
        )
    return AttentionShape(*sizes)


def _time_case(
    shape: AttentionShape, implementations: Sequence[str], dtype: str, rounds: int
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=size).astype(np.float32) for size in shape.arrays()]
    for x in arrays[:2]:
        x *= shape.qk_width**-0.25  # so that the variance of the scores is 1

    runs: dict[str, tuple[Run, Run]] = {}
    figures: dict[str, dict[str, Any]] = {}
    for name in implementations:
        try:
            forward_run, both_run, scratch = _ours(name, arrays, dtype)
            runs[name], figures[name] = (forward_run, both_run), {"scratch_bytes": scratch}
        except NotImplementedError as reason:
            figures[name] = {"unsupported": str(reason)}
    if importlib.util.find_spec("torch"):
        runs |= _pytorch(arrays, dtype)
        figures |= {name: {"scratch_bytes": None} for name in runs if name not in figures}

    forward = time_in_turn({name: run[0] for name, run in runs.items()}, 1, rounds)
    peak_size = _PEAK_SIZES[jax.default_backend()]
    timed = {_PEAK: _matmul(peak_size, dtype)} | {name: run[1] for name, run in runs.items()}
    both = time_in_turn(timed, 1, rounds)
    operations = 6 * shape.batch * shape.positions**2 * (shape.qk_width + shape.v_width)
    for name in runs:
        seconds = np.array(both[name])
        of_peak = operations / seconds / (2 * peak_size**3 / np.array(both[_PEAK]))
        figures[name] |= {
            "forward_seconds": float(np.median(forward[name])),
            "both_seconds": float(np.median(seconds)),
            "both_flops_per_second": operations / float(np.median(seconds)),
            "share_of_peak": float(np.median(of_peak)),
        }
        if SDPA in runs:
            figures[name]["ratio_to_sdpa"] = float(np.median(seconds / both[SDPA]))
    return {
        "peak_flops_per_second": 2 * peak_size**3 / float(np.median(both[_PEAK])),
        "peak_size": peak_size,
        "implementations": figures,
    }


def _ours(name: str, arrays: Sequence[np.ndarray], dtype: str) -> tuple[Run, Run, int]:
    """Returns the forward pass, the pass with gradients, and the scratch of the latter in bytes."""
    q, k, v, d_out = (jnp.asarray(x, dtype) for x in arrays)
    attend = functools.partial(position_attention, implementation=name)
    forward = jax.jit(attend).lower(q, k, v).compile()
    both = jax.jit(forward_and_backward(attend)).lower(q, k, v, d_out).compile()
    memory: Any = both.memory_analysis()
    return (
        lambda: jax.block_until_ready(forward(q, k, v)),
        lambda: jax.block_until_ready(both(q, k, v, d_out)),
        memory.temp_size_in_bytes,
    )


def _pytorch(arrays: Sequence[np.ndarray], dtype: str) -> dict[str, tuple[Run, Run]]:
    """Returns PyTorch's attention and the plain formula, on a GPU if JAX and PyTorch see one."""
    import torch

    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as JAX's default
    q, k, v, d_out = (
        torch.from_numpy(x).to("cuda" if on_gpu else "cpu", getattr(torch, dtype)) for x in arrays
    )

    def sdpa(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x[:, None] for x in (q, k, v))  # one head
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0]

    def plain(q: Any, k: Any, v: Any) -> Any:
        return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1), v)

    def finish() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def forward(attend: Callable) -> None:
        with torch.no_grad():
            attend(q, k, v)
        finish()

    def both(attend: Callable) -> None:
        inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        torch.autograd.grad(attend(*inputs), inputs, d_out)
        finish()

    return {
        name: (functools.partial(forward, attend), functools.partial(both, attend))
        for name, attend in ((SDPA, sdpa), ("PyTorch bmm", plain))
    }


def _matmul(size: int, dtype: str) -> Run:
    # Not ones: a GPU multiplies numbers of few set bits faster.
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    multiply = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(multiply(x, x))
