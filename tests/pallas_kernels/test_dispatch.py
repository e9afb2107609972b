"""Which implementation a call uses, and the precision of its matmuls."""

import functools
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, PartitionSpec

from pallas_kernels.position_attention import (
    IMPLEMENTATIONS,
    position_attention,
    tile_sizes,
    triton,
)

from .definition import and_gradients, arrays
from .traced import H100, described_gpu, kernels, precisions

KERNELS = [f"position_attention_{name}" for name in ("forward", "d_v", "d_q", "d_k")]
by_name = functools.partial(position_attention, implementation="triton")
attention_and_gradients = functools.partial(and_gradients, position_attention)
HIGHEST = (lax.Precision.HIGHEST,) * 2
HIGH = (lax.Precision.HIGH,) * 2
DEFAULT = (lax.Precision.DEFAULT,) * 2


def shapes(positions=20_000, qk_width=8, v_width=24, dtype="float32"):
    """Shapes of q, k, v and the output's cotangent; the scores are too many to be stored."""
    widths = (qk_width, qk_width, v_width, v_width)
    return [jax.ShapeDtypeStruct((2, positions, width), dtype) for width in widths]


def lowered_for_gpu(function, *arguments):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


def test_without_a_gpu_the_kernels_decline():
    q, k, v, _ = arrays(1, 5, 4, 3)
    with pytest.raises(NotImplementedError, match=r"need a GPU, and this program is for 'cpu'"):
        position_attention(q, k, v, implementation="triton")
    assert not kernels(attention_and_gradients, *shapes())
    np.testing.assert_array_equal(
        position_attention(q, k, v), position_attention(q, k, v, implementation="blockwise")
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_program_for_a_gpu_calls_the_kernels(dtype):
    with described_gpu():
        text = lowered_for_gpu(attention_and_gradients, *shapes(dtype=dtype))
    assert text.count("__gpu$xla.gpu.triton") == len(KERNELS)
    for name in KERNELS:
        assert name in text


@pytest.mark.parametrize(
    ("positions", "stored"),  # of two images, whose float32 scores take 8 N^2 bytes of 2^30
    [(1, True), (11_585, True), (11_586, False)],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_program_for_a_gpu_stores_the_scores_while_they_are_few(positions, stored, dtype):
    with described_gpu():
        program = jax.make_jaxpr(functools.partial(position_attention))(
            *shapes(positions, dtype=dtype)[:3]
        )
        named = jax.make_jaxpr(by_name)(*shapes(positions, dtype=dtype)[:3])
    assert ("pallas_call" in str(program)) != stored
    assert (f"{positions},{positions}]" in str(program)) == stored
    assert "pallas_call" in str(named)
    on_cpu = jax.make_jaxpr(position_attention)(*shapes(positions, dtype=dtype)[:3])
    assert positions == 1 or f"{positions},{positions}]" not in str(on_cpu)


@pytest.mark.parametrize(("devices", "stored"), [(2, True), (1, False)])
def test_the_scores_that_count_are_those_of_a_devices_own_images(devices, stored):
    device = AbstractDevice(device_kind=H100, platform="gpu", num_cores=None)
    mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,), abstract_device=device)
    attend = functools.partial(position_attention)
    with jax.sharding.use_abstract_mesh(mesh):
        program = jax.make_jaxpr(attend)(*shapes(12_000)[:3])  # 1.07 GiB of two images
    assert ("12000,12000]" in str(program)) == stored

    # Within `shard_map` the images are a device's own already.
    mapped = jax.shard_map(
        functools.partial(position_attention),
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    with jax.sharding.use_abstract_mesh(mesh):
        assert "12000,12000]" not in str(jax.make_jaxpr(mapped)(*shapes(12_000)[:3]))


def test_warnings_are_shown_or_not_as_before_the_import():
    program = """
import warnings
import jax.experimental.pallas.triton
before = list(warnings.filters)
import pallas_kernels.position_attention
assert warnings.filters == before
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("device_kind", "gpu"),
    [
        (H100, "hopper"),
        ("NVIDIA H200", "hopper"),
        ("NVIDIA A100-SXM4-40GB", "ampere"),
        ("NVIDIA GeForce RTX 4090", "ada"),
        ("NVIDIA GH200 480GB", "hopper"),
        ("NVIDIA A10", "ada"),
        ("NVIDIA RTX A1000", "ada"),
        ("NVIDIA B200", "ada"),  # the smallest tiles: they fit, if not without a spill
    ],
)
def test_tiles_are_those_of_the_gpu_compiled_for(monkeypatch, device_kind, gpu):
    asked = []

    def choose(*arguments):
        asked.append(arguments)
        return tile_sizes.choose(*arguments)

    monkeypatch.setattr(triton, "choose", choose)
    with described_gpu(device_kind):
        assert list(kernels(attention_and_gradients, *shapes(dtype="bfloat16"))) == KERNELS
    assert asked == [(20_000, 8, 24, jnp.bfloat16, lax.Precision.DEFAULT, gpu)]


@pytest.mark.parametrize("device_kind", ["AMD Instinct MI300X", "Tesla V100-SXM2-16GB"])
def test_a_described_gpu_that_cannot_run_the_kernels(device_kind):
    with described_gpu(device_kind):
        assert not kernels(attention_and_gradients, *shapes())
        with pytest.raises(NotImplementedError, match=rf"{device_kind}: .* Ampere or newer"):
            kernels(by_name, *shapes()[:3])


def put_gpu(monkeypatch, device_kind, capability):
    """Makes JAX say that this machine's default device is such a GPU."""
    device = SimpleNamespace(device_kind=device_kind, compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])


@pytest.mark.parametrize(
    ("device_kind", "capability", "takes"),
    [
        (H100, "9.0", True),
        ("NVIDIA B200", "10.0", True),
        ("NVIDIA GeForce RTX 2080 Ti", "7.5", False),
        ("AMD Instinct MI300X", "gfx942", False),
    ],
)
def test_the_gpu_that_is_there(monkeypatch, device_kind, capability, takes):
    put_gpu(monkeypatch, device_kind, capability)
    expected = KERNELS if takes else []
    assert list(kernels(attention_and_gradients, *shapes())) == expected
    with described_gpu(device_kind):  # as under a mesh of the GPUs that are there
        assert list(kernels(attention_and_gradients, *shapes())) == expected


def test_a_mesh_of_cpus_beside_a_gpu(monkeypatch):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    put_gpu(monkeypatch, H100, "9.0")
    assert list(kernels(attention_and_gradients, *shapes())) == KERNELS
    with jax.set_mesh(mesh):
        assert not kernels(attention_and_gradients, *shapes())


def test_a_default_device_beside_a_gpu(monkeypatch):
    put_gpu(monkeypatch, H100, "9.0")
    for device in (jax.devices("cpu")[0], "cpu"):
        with jax.default_device(device):
            assert not kernels(attention_and_gradients, *shapes())


def test_explicit_axes_fall_through(monkeypatch):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh), pytest.raises(NotImplementedError, match=r"AxisType\.Auto"):
        kernels(by_name, *shapes()[:3])


def test_float64_falls_through():
    with described_gpu(), jax.enable_x64(True):
        assert not kernels(attention_and_gradients, *shapes(dtype="float64"))
        with pytest.raises(NotImplementedError, match=r"float64: .* float32 and narrower"):
            kernels(by_name, *shapes(dtype="float64")[:3])


@pytest.mark.parametrize("implementation", [*IMPLEMENTATIONS, None])
@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (None, DEFAULT),
        ("bfloat16", DEFAULT),
        ("tensorfloat32", HIGH),
        ("float32", HIGHEST),
        ("highest", HIGHEST),
    ],
)
def test_precision_reaches_every_matmul(implementation, precision, expected):
    attention = functools.partial(position_attention, implementation=implementation)
    told = functools.partial(attention, precision=precision)
    with described_gpu():
        assert precisions(functools.partial(and_gradients, told), *shapes()) == {expected}
        with jax.default_matmul_precision(precision):
            assert precisions(functools.partial(and_gradients, attention), *shapes()) == {expected}


def test_precision_of_the_call_goes_before_the_default():
    attention = functools.partial(position_attention, precision=lax.Precision.HIGHEST)
    with described_gpu(), jax.default_matmul_precision("bfloat16"):
        assert precisions(functools.partial(and_gradients, attention), *shapes()) == {HIGHEST}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("at_call", "expected"), [("highest", HIGHEST), (None, DEFAULT)])
def test_the_backward_pass_keeps_the_precision_of_the_call(implementation, at_call, expected):
    attention = functools.partial(position_attention, implementation=implementation)

    def gradients(q, k, v, d_out):
        with jax.default_matmul_precision(at_call):
            _, vjp = jax.vjp(attention, q, k, v)
        with jax.default_matmul_precision("tensorfloat32"):
            return vjp(d_out)

    with described_gpu():
        assert precisions(gradients, *shapes()) == {expected}


def test_highest_precision_is_another_program():
    programs = {}
    for precision in ("default", "high", "highest"):
        with described_gpu(), jax.default_matmul_precision(precision):
            programs[precision] = lowered_for_gpu(position_attention, *shapes()[:3])
    assert programs["default"] == programs["high"]
    assert programs["default"] != programs["highest"]


@pytest.mark.parametrize(
    "precision", [lax.DotAlgorithmPreset.F32_F32_F32, "BF16_BF16_F32_X3", ("high", "highest")]
)
def test_a_precision_the_kernels_lack(precision):
    attention = functools.partial(position_attention, precision=precision)
    with described_gpu():
        assert not kernels(functools.partial(and_gradients, attention), *shapes())
        with pytest.raises(
            NotImplementedError, match=r"precision=.*take DEFAULT, HIGH and HIGHEST"
        ):
            kernels(functools.partial(by_name, precision=precision), *shapes()[:3])
