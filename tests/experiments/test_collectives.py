"""What devices send each other: in a program written by hand, and in every method's step."""

import textwrap

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.described_gpu import collectives, hlo
from experiments.described_gpu.collectives import Collective, Sent
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.cutmix import CutMix, CutMixWeights
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.supervised import Supervised
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.image_discriminator import ImageDiscriminator
from sassn_jax.training import parallel
from tests.methods.conftest import CLASSES, SIZE, TinyGenerator, make_batch

FLOAT = 4  # bytes

# As a compiler for several devices writes it, shortened: a parameter is gathered, its gradient is
# summed, and a loop sends something to a neighbour.
PROGRAM = textwrap.dedent("""\
    HloModule jit_step, is_scheduled=true

    %body (loop: (s32[], f32[10])) -> (s32[], f32[10]) {
      %loop = (s32[], f32[10]{0}) parameter(0)
      %i = s32[] get-tuple-element(%loop), index=0
      %x = f32[10]{0} get-tuple-element(%loop), index=1
      %next-start = (f32[10]{0}, f32[10]{0}) collective-permute-start(%x), \
    source_target_pairs={{0,1},{1,0}}
      %next-done = f32[10]{0} collective-permute-done(%next-start)
      ROOT %again = (s32[], f32[10]{0}) tuple(%i, %next-done)
    }

    %condition (loop.1: (s32[], f32[10])) -> pred[] {
      %loop.1 = (s32[], f32[10]{0}) parameter(0)
      ROOT %go = pred[] constant(true)
    }

    ENTRY %main (kernel: f32[5,10], image: f32[10], i: s32[]) -> f32[10] {
      %kernel = f32[5,10]{1,0} parameter(0)
      %image = f32[10]{0} parameter(1)
      %i.1 = s32[] parameter(2)
      %flat = f32[50]{0} bitcast(%kernel)
      %whole-start = (f32[50]{0}, f32[200]{0}) all-gather-start(%flat), \
    replica_groups=mesh['a'=1,'b'=2,'c'=2], device_ids=([2,2]T(1,0)) {'b','c':(1)2}, \
    metadata={op_name="jit(step)/conv"}
      %whole-done = f32[200]{0} all-gather-done(%whole-start)
      %y = f32[10]{0} custom-call(%whole-done, %image), custom_call_target="conv"
      %sum = (f32[10]{0}, f32[5,10]{1,0}) all-reduce(%y, %kernel), \
    replica_groups={}, to_apply=%add
      %of-sum = f32[10]{0} get-tuple-element(%sum), index=0
      %share = f32[5]{0} reduce-scatter(%y), replica_groups={{0,1},{2,3}}, \
    dimensions={0}, to_apply=%add
      %half = f32[10]{0} all-gather(%share), replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}
      %start = (s32[], f32[10]{0}) tuple(%i.1, %of-sum)
      %while.1 = (s32[], f32[10]{0}) while(%start), condition=%condition, body=%body, \
    backend_config={"known_trip_count":{"n":"3"}}
      ROOT %result = f32[10]{0} get-tuple-element(%while.1), index=1
    }
    """)


def test_collectives_are_found_with_what_they_send_and_give():
    assert collectives.find(hlo.parse(PROGRAM), devices=4) == [
        Collective("all-gather", 1, 3 * 50 * FLOAT, (200 * FLOAT,), "jit(step)/conv"),
        Collective("all-reduce", 1, 2 * 60 * FLOAT * 3 // 4, (10 * FLOAT, 50 * FLOAT), ""),
        Collective("reduce-scatter", 1, 10 * FLOAT // 2, (5 * FLOAT,), ""),
        Collective("all-gather", 1, 5 * FLOAT, (10 * FLOAT,), ""),
        Collective("collective-permute", 3, 3 * 10 * FLOAT, (10 * FLOAT,), ""),
    ]


def test_collectives_of_a_kind_are_summed():
    gather = Collective("all-gather", 2, 100, (200,), "")
    permute = Collective("collective-permute", 1, 5, (5,), "")
    assert collectives.by_kind([gather, permute, gather]) == {
        "all-gather": Sent(4, 200),
        "collective-permute": Sent(1, 5),
    }


def test_devices_send_what_they_gather_and_sum():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*x)) for x in (("data",), ()))
    x = jax.ShapeDtypeStruct((4, 1000), jnp.float32, sharding=split)

    def sent(function):
        compiled = jax.jit(function, out_shardings=whole).lower(x).compile()
        return collectives.by_kind(collectives.find(hlo.parse(compiled.as_text()), 2))

    # Its half, to the other.
    assert sent(lambda x: x * 2) == {"all-gather": Sent(1, 2 * 1000 * FLOAT)}
    assert sent(lambda x: x.sum(0)) == {"all-reduce": Sent(1, 2 * 1000 // 2 * FLOAT)}


def tiny_method(kind: str):
    """A method with its own discriminator and a generator of one convolution."""
    segmenter = Segmenter(TinyGenerator(CLASSES), optax.sgd(0.1, momentum=0.9))
    match kind:
        case "supervised":
            return Supervised(segmenter)
        case "cutmix":
            return CutMix(segmenter, CutMixWeights())
        case "s4gan":
            return S4GAN(segmenter, ImageDiscriminator(), optax.sgd(0.1), S4GANWeights())
    return Adversarial(
        segmenter,
        Discriminator(spectral_norm=True),
        optax.sgd(0.1, momentum=0.9),
        LossWeights(discriminator_fake=kind),
    )


def compile_step(method, batch, *, shard_params=False):
    """Compiles a step for the two devices of the tests.

    Returns:
      Its collectives, and the number of parameters.
    """
    mesh = parallel.make_mesh(len(batch["labeled"]["image"]))
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    shardings = parallel.state_shardings(state, mesh, shard_params=shard_params)
    arguments = (
        jax.tree.map(lambda x, sharding: x.update(sharding=sharding), state, shardings),
        jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.split(mesh)), batch
        ),
    )
    step = parallel.jit_step(method, mesh, shardings).lower(*arguments).compile()
    networks = [x for x in (state.generator, state.discriminator) if x is not None]
    parameters = sum(leaf.size for x in networks for leaf in jax.tree.leaves(x.params))
    return collectives.find(hlo.parse(step.as_text()), mesh.size), parameters


@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize("kind", ["supervised", "labeled", "both", "s4gan"])
def test_devices_send_each_other_nothing_but_sums(kind):
    """Those of gradients, and numbers for each channel and each loss; none for each pixel."""
    batch = make_batch(batch_size=4)
    if kind == "supervised":
        del batch["unlabeled"]
    found, parameters = compile_step(tiny_method(kind), batch)
    assert {x.kind for x in found} == {"all-reduce"}
    beside_gradients = sum(x.sent for x in found) - parameters * FLOAT
    assert 0 <= beside_gradients < SIZE[0] * SIZE[1] * FLOAT


@pytest.mark.usefixtures("fast_compile")
def test_devices_that_share_the_parameters_gather_them_once_and_no_activations():
    found, parameters = compile_step(
        tiny_method("labeled"), make_batch(batch_size=4), shard_params=True
    )
    assert {x.kind for x in found} == {"all-gather", "all-reduce"}
    gathered = sum(sum(x.sizes) for x in found if x.kind == "all-gather")
    # All but the small arrays; and a number for each channel, of the power iteration.
    assert 0.99 * FLOAT * parameters < gathered < 1.001 * FLOAT * parameters


@pytest.mark.usefixtures("fast_compile")
def test_what_is_pasted_goes_to_the_next_device_and_nowhere_else():
    """One image of each device, with its target, its labels and what was filled."""
    found, _ = compile_step(tiny_method("cutmix"), make_batch(batch_size=4))
    assert {x.kind for x in found} == {"all-reduce", "collective-permute"}
    height, width = SIZE
    pasted = sorted(x.sent for x in found if x.kind == "collective-permute")
    image, target, label, valid = (height * width * x for x in (3 * FLOAT, CLASSES * FLOAT, 4, 1))
    assert pasted == sorted((image, target, label, valid))
