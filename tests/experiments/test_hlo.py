"""XLA's text of a program, against what XLA itself counts, and by hand where it does not."""

import textwrap

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.described_gpu import hlo

FLOAT = 4  # bytes

# As a GPU's compiler writes it, shortened: a library's convolution, a loop that takes a slice of
# one array and puts it into another, and a sum over devices.
GPU_PROGRAM = textwrap.dedent("""\
    HloModule jit_step, is_scheduled=true

    %fused_slice (param_0: f32[5,10], param_1: s32[]) -> f32[10] {
      %param_0 = f32[5,10]{1,0} parameter(0)
      %param_1 = s32[] parameter(1)
      %flat = f32[5,1,10]{2,1,0} bitcast(%param_0)
      ROOT %row = f32[10]{0} dynamic-slice(%flat, %param_1), dynamic_slice_sizes={1,1,10}
    }

    %fused_update (param_2: f32[5,10], param_3: f32[10], param_4: s32[]) -> f32[5,10] {
      %param_2 = f32[5,10]{1,0} parameter(0)
      %param_3 = f32[10]{0} parameter(1)
      %param_4 = s32[] parameter(2)
      %twice = f32[10]{0} add(%param_3, %param_3)
      ROOT %put = f32[5,10]{1,0} dynamic-update-slice(%param_2, %twice, %param_4)
    }

    %body (loop: (s32[], f32[5,10], f32[5,10])) -> (s32[], f32[5,10], f32[5,10]) {
      %loop = (s32[], f32[5,10]{1,0}, /*index=2*/f32[5,10]{1,0}) parameter(0)
      %i = s32[] get-tuple-element(%loop), index=0
      %in = f32[5,10]{1,0} get-tuple-element(%loop), index=1
      %out = f32[5,10]{1,0} get-tuple-element(%loop), index=2
      %slice = f32[10]{0} fusion(%in, %i), kind=kLoop, calls=%fused_slice
      %update = f32[5,10]{1,0} fusion(%out, %slice, /*index=2*/%i), kind=kLoop, calls=%fused_update
      ROOT %next = (s32[], f32[5,10]{1,0}, f32[5,10]{1,0}) tuple(%i, %in, %update)
    }

    %condition (loop.1: (s32[], f32[5,10], f32[5,10])) -> pred[] {
      %loop.1 = (s32[], f32[5,10]{1,0}, f32[5,10]{1,0}) parameter(0)
      ROOT %go = pred[] constant(true)
    }

    ENTRY %main (x: bf16[8,6], kernel: bf16[6,7]) -> f32[5,10] {
      %x = bf16[8,6]{1,0} parameter(0), metadata={op_name="batch[\\'image\\']"}
      %kernel = bf16[6,7]{1,0} parameter(1)
      %conv.1 = (bf16[8,7]{1,0}, u8[4096]{0}) custom-call(%x, %kernel), \
    custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/conv1/conv(a)"}
      %y = bf16[8,7]{1,0} get-tuple-element(%conv.1), index=0
      %start = (s32[], f32[5,10]{1,0}, f32[5,10]{1,0}) tuple(%x, %y, %y)
      %while.2 = (s32[], f32[5,10]{1,0}, f32[5,10]{1,0}) while(%start), condition=%condition, \
    body=%body, backend_config={"known_trip_count":{"n":"5"}}, metadata={op_name="jit(step)/while"}
      %z = f32[5,10]{1,0} get-tuple-element(%while.2), index=2
      %sum-start = f32[5,10]{1,0} all-reduce-start(%z), replica_groups={{0,1,2,3}}, to_apply=%add
      ROOT %sum-done = f32[5,10]{1,0} all-reduce-done(%sum-start)
    }
    """)


def test_a_program_is_read_with_its_sizes_and_origins():
    module = hlo.parse(GPU_PROGRAM)
    assert module.entry == "main"
    convolution = module.computations["main"]["conv.1"]
    assert convolution.operation == "custom-call"
    assert convolution.operands == ("x", "kernel")
    assert convolution.sizes == (8 * 7 * 2, 4096)
    assert convolution.origin == "jit(step)/conv1/conv(a)"
    assert module.computations["main"]["while.2"].trips == 5


def test_traffic_leaves_out_workspace_and_counts_slices_in_loops():
    convolution = 2 * (8 * 6 + 6 * 7 + 8 * 7)
    row = 10 * FLOAT
    index = FLOAT
    sliced = row + index + row  # a row read, its index, a row written
    updated = row + index + row
    reduced = 2 * 5 * row
    expected = convolution + 5 * (sliced + updated) + reduced
    assert hlo.traffic(hlo.parse(GPU_PROGRAM), cache=0) == expected


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        # The convolution's reads and writes, and those of the sum over devices; the rounds of the
        # loop move less than this.
        (100, (2 * (8 * 6 + 6 * 7) - 100) + (2 * 8 * 7 - 100) + 2 * (5 * 10 * FLOAT - 100)),
        (150, 2 * (8 * 6 + 6 * 7) - 150 + 2 * (5 * 10 * FLOAT - 150)),
        (199, 2),
        (200, 0),
    ],
)
def test_traffic_is_what_the_cache_cannot_hold(cache, expected):
    assert hlo.traffic(hlo.parse(GPU_PROGRAM), cache) == expected


def test_what_a_kernel_reads_twice_counts_once():
    square = textwrap.dedent("""\
        ENTRY %main (x: f32[10,10]) -> f32[10,10] {
          %x = f32[10,10]{1,0} parameter(0)
          ROOT %y = (f32[10,10]{1,0}, s8[64]{0}) custom-call(%x, %x), custom_call_target="gemm"
        }
        """)
    assert hlo.traffic(hlo.parse(square), cache=0) == 2 * 10 * 10 * FLOAT


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y,
        lambda x, y: x @ y.T,
        lambda x, y: jnp.where(x > 0, x, y),
        lambda x, y: x[2:4] * 2,
    ],
)
def test_traffic_of_a_plain_program_is_what_xla_says(function):
    x = jax.ShapeDtypeStruct((8, 128), jnp.float32)
    compiled = jax.jit(function).lower(x, x).compile()
    moved = hlo.traffic(hlo.parse(compiled.as_text()), cache=0)
    assert moved == compiled.cost_analysis()["bytes accessed"]


def test_traffic_of_a_loop_is_that_of_its_rounds():
    def times(rounds):
        def step(x, _):
            return lax.optimization_barrier(jnp.sin(x)), None

        x = jax.ShapeDtypeStruct((1000,), jnp.float32)
        compiled = jax.jit(lambda x: lax.scan(step, x, length=rounds)[0]).lower(x).compile()
        return hlo.traffic(hlo.parse(compiled.as_text()), cache=0)

    assert times(70) - times(30) == pytest.approx(40 * 2 * 1000 * FLOAT, rel=0.01)


def test_results_that_xla_computes_anew_are_counted():
    module = hlo.parse(GPU_PROGRAM)
    assert hlo.count_recomputed(module) == 0
    again = GPU_PROGRAM.replace("%conv.1 =", "%conv.1.remat =").replace(
        "(%conv.1)", "(%conv.1.remat)"
    )
    assert hlo.count_recomputed(hlo.parse(again)) == 1


def test_what_is_live_at_the_peak_is_known_by_its_origin(tmp_path):
    (tmp_path / "module_0001.sm_9.0a_gpu_after_optimizations-live-range.txt").write_text(
        textwrap.dedent("""\
        HloLiveRange (max 12):
          BufferLiveRange:
            x{}:0-12
          Live ranges at 7 (peak):
            conv.1{0}: 112 bytes (cumulative: 112 bytes)
            x{}: 96 bytes (cumulative: 208 bytes)
            update{}: 200 bytes (cumulative: 408 bytes)
          Stack trace breakdown for peak usage: 408 bytes
            conv.1{0}: 9999 bytes
        """)
    )
    live = hlo.live_at_peak(hlo.parse(GPU_PROGRAM), tmp_path)
    assert live == {"jit(step)/conv1/conv(a)": 112, "": 200}
