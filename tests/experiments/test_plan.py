"""The reckoning of a plan, with figures of steps that no compiler has made."""

import contextlib
import dataclasses
import importlib
import io
import json
import types

import pytest
from rich.console import Console

from experiments import described_gpu
from experiments.described_gpu import planning, scaling, training_step
from experiments.described_gpu.collectives import Sent
from experiments.described_gpu.training_step import Step
from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.recipes import override, parse

GPU = described_gpu.GPUS["rtx3060"]
GIB = 2**30
BFLOAT16 = {"model.dtype": "bfloat16"}
REMAT = {"model.remat": True}


def step(gib: float = 1.0, **changes) -> Step:
    figures = {
        "devices": 1,
        "parameters": {"generator": 1000, "discriminator": 200},
        "flops": {"tf32": 12.7e12, "bfloat16": 25.5e12},  # a second of each
        "recomputed": 0,
        "traffic": 180_000_000_000,  # half a second
        "sent": {},
        "arguments": GIB // 2,
        "scratch": round((gib - 0.5) * GIB),
        "attention": GIB // 8,
    }
    return Step(**(figures | changes))


def get_config(name: str = "voc", argument: str = "method=sassn,labels=1/8", **switches):
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    return override(parse(config), {k.replace("__", "."): v for k, v in switches.items()})


def test_a_step_is_bound_by_the_slowest_unit():
    bounds = step(sent={"all-reduce": Sent(2, 315_000_000)}).least_seconds(GPU)
    assert bounds == pytest.approx({"compute": 2.0, "memory": 0.5, "link": 0.01})


@pytest.mark.parametrize(
    ("gpu", "devices", "milliseconds"),
    # Eight are in one machine, over NVLink; 16 in two, over eight adapters of 400 Gbit/s each.
    [("h100", 8, 10), ("h100", 16, 11.25), ("a100", 16, 22.5), ("rtx3060", 8, 1000 / 7)],
)
def test_many_gpus_send_over_the_slowest_of_their_links(gpu, devices, milliseconds):
    sent = {"all-reduce": Sent(2, 4_000_000_000), "all-gather": Sent(1, 500_000_000)}
    bounds = step(devices=devices, sent=sent).least_seconds(described_gpu.GPUS[gpu])
    assert bounds["link"] == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("gpu", "counts", "message"),
    [
        ("h100", (1, 3, 8, 16, 512), ""),
        ("h100", (12,), "expected 1 to 8 NVIDIA H100 80GB HBM3 in one machine, or a multiple of 8"),
        ("h100", (0,), "expected 1 to 8"),
        ("rtx4090", (16,), "expected 1 to 8 NVIDIA GeForce RTX 4090 in one machine$"),
    ],
)
def test_numbers_of_gpus_that_machines_can_have(gpu, counts, message):
    for count in counts:
        with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
            described_gpu.GPUS[gpu].check_count(count, "--scaling")


@pytest.mark.parametrize(("gib", "fits"), [(9.6, True), (9.61, False)])
def test_four_fifths_of_a_card_count_as_fitting(gib, fits):
    assert planning.fits(step(gib), GPU) == fits


def test_alternatives_come_in_the_order_of_their_cost():
    assert planning.alternatives(get_config(), devices=1) == [
        BFLOAT16,
        REMAT,
        BFLOAT16 | REMAT,
        BFLOAT16 | REMAT | {"accumulation": 2},
        BFLOAT16 | REMAT | {"accumulation": 4},
        BFLOAT16 | REMAT | {"accumulation": 8},
    ]


@pytest.mark.parametrize(
    ("switches", "devices", "expected"),
    [
        ({"model__dtype": "bfloat16"}, 8, [REMAT]),
        ({"model__remat": True}, 8, [BFLOAT16]),
        ({"model__remat": True, "model__dtype": "bfloat16"}, 4, [{"accumulation": 2}]),
        ({"accumulation": 2}, 2, [BFLOAT16, REMAT, BFLOAT16 | REMAT,
                                  BFLOAT16 | REMAT | {"accumulation": 4}]),
    ],
)  # fmt: skip
def test_alternatives_are_what_a_config_has_not_yet(switches, devices, expected):
    assert planning.alternatives(get_config(**switches), devices) == expected


@pytest.mark.parametrize("head", ["deeplabv2", "deeplabv3"])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_every_alternative_is_a_valid_config(devices, head):
    config = get_config("voc", f"backbone={head}")
    for switches in planning.alternatives(config, devices):
        changed = override(config, switches)
        assert planning.check(changed, devices) == changed
    assert config == get_config("voc", f"backbone={head}")


@pytest.mark.parametrize(
    ("argument", "switches", "steps"),
    [
        ("method=sassn,labels=1/8", {}, 15_000),
        ("method=sassn,labels=ids.txt", {}, 15_000),
        ("method=sassn,labels=1", {}, 0),
        ("method=sassn,labels=1.0", {}, 0),
        ("method=supervised,labels=1/8", {}, 0),
        ("method=dilation,labels=1/8", {}, 0),
        ("method=sassn,labels=1/8", {"num_steps": 4000}, 0),
        ("method=cutmix,labels=1", {}, 40_000),  # which takes all images without their labels too
        ("method=sassn,labels=1", {"unlabeled": "all"}, 15_000),
    ],
)
def test_steps_with_unlabelled_images_are_counted(argument, switches, steps):
    assert planning.count_semi_steps(get_config("voc", argument, **switches)) == steps


def test_images_without_masks_are_counted_among_the_unlabelled(monkeypatch):
    """Also where all others are labelled."""
    config = get_config("folder", "method=sassn,labels=1", data_dir="DATA")
    for splits, steps in (({}, 0), ({data.UNLABELED: ()}, 15_000)):
        prepared = types.SimpleNamespace(splits=splits)
        monkeypatch.setattr(data, "load", lambda *_, prepared=prepared: prepared)
        assert planning.count_semi_steps(config) == steps


def test_a_run_takes_the_time_of_both_its_steps():
    tried = (planning.Variant({}, step()),)
    first = step(flops={"tf32": 12.7e12})
    made = planning.Plan(get_config(), GPU, 1, tried, first)
    assert made.least_seconds() == pytest.approx(5000 * 1.0 + 15_000 * 2.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.94, "59.9 seconds"), (90, "1.5 minutes"), (9000, "2.5 hours")]
)
def test_durations_are_in_the_unit_that_suits_them(seconds, text):
    assert planning.format_duration(seconds) == text


@pytest.fixture
def compiled(monkeypatch):
    """Returns the calls of a compiler that finds 18, 10, 9, 4, 2, 1, ... GiB."""
    calls = []
    sizes = iter((18, 10, 9, 4, 2, 1, 1))

    def compile_step(config, gpu, devices, *, unlabeled):
        calls.append((config.model.dtype, config.model.remat, config.accumulation, unlabeled))
        return step(next(sizes) if unlabeled else 0.75)

    monkeypatch.setattr(training_step, "compile_step", compile_step)
    return calls


def test_alternatives_are_compiled_up_to_the_first_that_fits(compiled):
    made = planning.make_plan(get_config(), GPU, 1)
    assert compiled == [
        ("float32", False, 1, True),
        ("bfloat16", False, 1, True),
        ("float32", True, 1, True),
        ("float32", True, 1, False),  # the step before unlabelled images come
    ]
    assert made.fits
    assert made.best.switches == REMAT
    assert made.first_step.memory == 0.75 * GIB


def test_nothing_else_is_compiled_where_there_is_one_step_and_it_fits(compiled):
    made = planning.make_plan(get_config("voc", "method=supervised,labels=1/8"), GPU, 1)
    assert compiled == [("float32", False, 1, False)]
    assert made.first_step == made.best.step


def test_what_nothing_makes_fit_is_said(compiled):
    small = dataclasses.replace(GPU, memory=GIB)
    made = planning.make_plan(get_config(), small, 1)
    assert len(compiled) == 7
    assert not made.fits
    assert "It does not fit with any of these" in " ".join(planning.remarks(made))


def test_what_fits_and_how_is_shown(compiled):
    made = planning.make_plan(get_config(), GPU, 1)
    file = io.StringIO()
    Console(file=file, width=130).print(planning.table(made))
    (row,) = [line for line in file.getvalue().splitlines() if "remat=True " in line]
    assert row.split() == ["remat=True", "9.00", "75%", "8.50", "0.12", "38.20", "180.0", "2000.0"]
    text = " ".join(planning.remarks(made))
    assert "It does not fit as configured; it does with --config.model.remat=True" in text
    assert "at least 11.1 hours" in text  # 20,000 steps of two seconds
    assert "generator of 1,000 parameters" in text


@pytest.mark.parametrize(("gib", "told"), [(9.0, False), (9.2, True)])
def test_a_run_that_needs_more_than_jax_takes_by_itself_is_told_so(gib, told):
    made = planning.Plan(get_config(), GPU, 1, (planning.Variant({}, step(gib)),), step())
    assert made.fits
    assert ("set it to 0.9" in planning.remarks(made)[-1]) == told


def test_the_figures_are_there_for_programs(compiled):
    written = json.loads(json.dumps(planning.figures(planning.make_plan(get_config(), GPU, 1))))
    assert written["fits"] is True
    assert [x["switches"] for x in written["tried"]] == [{}, BFLOAT16, REMAT]
    assert [x["memory"] / GIB for x in written["tried"]] == [18, 10, 9]
    assert written["least_seconds"] == pytest.approx(40_000)


def test_what_many_gpus_do_is_shown_for_whole_and_shared_parameters(monkeypatch):
    calls = []

    def compile_step(config, gpu, devices, *, unlabeled):
        calls.append((config.batch_size, config.parallel.shard_params, devices, unlabeled))
        sent = {"all-gather": Sent(3, 9_000_000), "all-to-all": Sent(1, 500_000)}
        if not config.parallel.shard_params:
            sent = {"all-reduce": Sent(5, 45_000_000)}
        return step(devices=devices, sent=sent if devices > 1 else {}, flops={"tf32": 4.947e9})

    monkeypatch.setattr(training_step, "compile_step", compile_step)
    gpu = described_gpu.GPUS["h100"]
    points = scaling.compile_points(get_config(), gpu, (1, 8))
    assert calls == [(8, False, 1, True), (64, False, 8, True), (64, True, 8, True)]
    file = io.StringIO()
    Console(file=file, width=132).print(scaling.table(points, gpu))
    assert "…" not in file.getvalue()
    rows = [" ".join(line.split()) for line in file.getvalue().splitlines() if line.strip()]
    assert rows[-3:] == [
        "1 whole 1.00 0.500 0.00 0.0 0.0 0.0 0.0 0 53.7 0.00 0.0%",
        "8 whole 1.00 0.500 0.00 45.0 0.0 0.0 0.0 5 53.7 0.10 0.2%",
        "8 shared 1.00 0.500 0.00 0.0 9.0 0.0 0.5 4 53.7 0.02 0.0%",
    ]
    written = json.loads(json.dumps(scaling.figures(points, gpu)))["scaling"]
    assert [(x["num_gpus"], x["shard_params"]) for x in written] == [
        (1, False),
        (8, False),
        (8, True),
    ]
    assert written[1]["step"]["sent"] == {"all-reduce": {"times": 5, "size": 45_000_000}}
    assert written[1]["least_seconds"]["link"] == pytest.approx(1e-4)


def test_weights_need_not_be_there():
    config = get_config(model__weights="nowhere.safetensors")
    assert planning.check(config, 1).model.weights == ""


@pytest.mark.parametrize(
    ("switches", "devices", "message"),
    [
        ({"dataset": "coco"}, 1, "dataset='coco': expected one of camvid, folder"),
        ({"model__dtype": "float16"}, 1, "model.dtype='float16': expected one of"),
        ({}, 3, "--num_gpus=3: expected a number that, times accumulation=1, divides batch_size=8"),
        ({"accumulation": 4}, 4, "--num_gpus=4: expected a number that, times accumulation=4"),
        ({}, 0, "--num_gpus=0"),
    ],
)
def test_a_config_that_cannot_be_planned(switches, devices, message):
    with pytest.raises(InputError) as error:
        planning.check(get_config(**switches), devices)
    assert str(error.value).startswith(message)
