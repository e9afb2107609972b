import importlib.util
import textwrap

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl

from experiments import described_gpu
from experiments.described_gpu import kernels, matmuls
from sassn_jax.errors import InputError

THUNKS = """\
001: kCustomKernel [source       | next=002 (1)] attend grid: [4, 2, 1] threads: [256, 1, 1]  \
shared_memory: 98304 bytes
002: kSequential [prev=001 (1) | sink        ] kSequential
    003: kCustomKernel [source | sink] scale_1 grid: [64, 1, 1] threads: [32, 4, 1]  \
shared_memory: 0 bytes
"""

PTX = textwrap.dedent("""\
    .version 9.0
    .target sm_90a
    .extern .shared .align 16 .b8 global_smem[];

    .visible .entry attend(
        .param .u64 attend_param_0
    )
    .reqntid 256, 1, 1
    {
        fma.rn.f32 %r1, %r2, %r3, %r4;
        @%p1 fma.rn.ftz.f32 %r1, %r2, %r3, %r4;
        fma.rn.f64 %rd1, %rd2, %rd3, %rd4;
        wgmma.fence.sync.aligned;
        wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%r5}, %rd1, %rd2, 0, 1, 1, 0, 0;
        wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%r5}, %rd1, %rd2, 1, 1, 1, 0, 0;
        wgmma.commit_group.sync.aligned;
        ret;
    }

    .visible .entry scale_1(
        .param .u64 scale_1_param_0
    )
    .reqntid 32, 4
    {
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1}, {%r2}, {%r3}, {%r4};
        ret;
    }
""")

REPORT = """\
ptxas info    : (C7511) Potential Performance Loss: too few registers in the function 'attend' in \
line 9
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'scale_1' for 'sm_90a'
ptxas info    : Function properties for scale_1
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 1 barriers, 32 bytes smem
ptxas info    : Compiling entry function 'attend' for 'sm_90a'
ptxas info    : Function properties for attend
    24 bytes stack frame, 20 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers
ptxas info    : Compile time = 245.779 ms
"""


def test_reports_join_what_three_texts_say_of_a_kernel():
    launches = kernels.parse_launches(THUNKS)
    assert launches == {"attend": 98304, "scale_1": 0}
    scale, attend = kernels.parse_kernels(PTX, REPORT, launches)
    assert attend == kernels.Kernel(
        name="attend",
        threads=256,
        registers=255,
        spills=56,
        shared_memory=98304,  # asked for at the launch
        tensor_instructions={"wgmma": 2},
        multiply_adds=2,
        remarks=("too few registers",),
    )
    assert scale == kernels.Kernel(
        name="scale_1",
        threads=128,
        registers=31,
        spills=0,
        shared_memory=32,  # known to ptxas
        tensor_instructions={"mma.sync": 1},
        multiply_adds=0,
        remarks=(),
    )


@pytest.mark.parametrize(
    ("ptx", "report", "launches"),
    [
        (PTX, REPORT, {"scale_1": 0}),
        (PTX, REPORT.replace("bytes spill stores", "spilled"), {"attend": 0, "scale_1": 0}),
        (PTX, REPORT.replace("registers", "regs"), {"attend": 0, "scale_1": 0}),
        (PTX.replace(".reqntid", ".maxntid"), REPORT, {"attend": 0, "scale_1": 0}),
    ],
)
def test_texts_that_lack_what_is_asked_for_are_refused(ptx, report, launches):
    with pytest.raises((ValueError, KeyError)):
        kernels.parse_kernels(ptx, report, launches)


@pytest.mark.parametrize("name", described_gpu.GPUS)
def test_a_description_is_what_xla_reads(name):
    gpu = described_gpu.GPUS[name]
    text = gpu.target_config()
    assert text.count("{") == text.count("}")
    assert f"shared_memory_per_block_optin: {gpu.shared_memory}\n" in text
    assert f'device_description_str: "{gpu.device_kind}"' in text


def test_without_a_compiler_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="make gpu-check"):
        described_gpu.make_mesh(described_gpu.GPUS["h100"])


def product_kernel(x_ref, y_ref, out_ref):
    def add(_, total):
        return total + lax.dot_general(x_ref[...], y_ref[...], (((1,), (1,)), ((), ())))

    out_ref[...] = lax.fori_loop(0, 5, add, jnp.zeros(out_ref.shape))


def product(name: str, kernel=product_kernel):
    return pl.pallas_call(
        kernel, grid=(2, 3), out_shape=jax.ShapeDtypeStruct((16, 64), jnp.float32), name=name
    )


X, Y = jax.ShapeDtypeStruct((16, 32), jnp.float32), jax.ShapeDtypeStruct((64, 32), jnp.float32)


def test_matmuls_are_counted_over_grid_and_loops():
    def program(x, y):
        x @ y.T  # XLA's own, in no kernel
        return jax.jit(product("first"))(x, y)

    jaxpr = jax.make_jaxpr(program)(X, Y).jaxpr
    assert matmuls.in_kernels(jaxpr) == {
        "first": [matmuls.Matmul(size=16 * 64 * 32, times=2 * 3 * 5)]
    }


def test_a_program_counts_its_matmuls_by_numerics_those_of_kernels_and_loops_too():
    def program(x, y):
        def add(total, row):
            return total + row @ y.T, None

        total, _ = lax.scan(add, jnp.zeros(64), x)
        half = x.astype(jnp.bfloat16) @ y.T.astype(jnp.bfloat16)
        exact = jnp.matmul(x, y.T, precision="highest")
        return jax.jit(product("p"))(x, y) + total + half.astype(jnp.float32) + exact

    once = 16 * 64 * 32
    assert matmuls.in_program(jax.make_jaxpr(program)(X, Y).jaxpr) == {
        "tf32": (1 + 2 * 3 * 5) * once,
        "bfloat16": once,
        "float32": once,
    }


@pytest.mark.parametrize(
    ("stride", "dilation", "padding", "groups"),
    [(1, 1, 1, 1), (2, 1, 1, 1), (1, 4, 4, 2), (2, 2, 0, 1)],
)
@pytest.mark.parametrize("argument", [None, "image", "kernel"])
def test_convolutions_are_counted_as_xla_counts_them(argument, stride, dilation, padding, groups):
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def function(x, kernel, d_out):
        if argument == "image":
            out, gradient = jax.vjp(lambda x: convolve(x, kernel), x)
        else:
            out, gradient = jax.vjp(lambda kernel: convolve(x, kernel), kernel)
        return out if argument is None else (out, gradient(d_out))

    x = jax.ShapeDtypeStruct((2, 17, 19, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8 // groups, 16), jnp.float32)
    shapes = (x, kernel, jax.eval_shape(convolve, x, kernel))
    flops = jax.jit(function).lower(*shapes).cost_analysis()["flops"]
    counted = matmuls.in_program(jax.make_jaxpr(function)(*shapes).jaxpr)
    assert counted == {"tf32": flops / 2}


def test_matmuls_of_two_kernels_of_one_name_are_refused():
    jaxpr = jax.make_jaxpr(lambda x, y: product("p")(x, y) + product("p")(x, y))(X, Y).jaxpr
    with pytest.raises(ValueError, match="p: two kernels"):
        matmuls.in_kernels(jaxpr)


def test_matmuls_in_a_loop_of_unknown_length_are_refused():
    def kernel(x_ref, y_ref, out_ref):
        out_ref[...] = lax.while_loop(
            lambda total: total[0, 0] < 1,
            lambda total: total + x_ref[...] @ y_ref[...].T,
            jnp.zeros(out_ref.shape),
        )

    jaxpr = jax.make_jaxpr(product("p", kernel))(X, Y).jaxpr
    with pytest.raises(ValueError, match="length is not known"):
        matmuls.in_kernels(jaxpr)
