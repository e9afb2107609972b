"""Finds out whether a run fits a GPU, what makes it fit, and the least time that it takes."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from rich.box import SIMPLE
from rich.table import Table

from experiments.described_gpu import training_step
from experiments.described_gpu.gpus import Gpu
from experiments.described_gpu.training_step import Step
from sassn_jax import data, methods
from sassn_jax.config import Config
from sassn_jax.errors import InputError
from sassn_jax.files import expanded
from sassn_jax.models.networks import smallest_batch
from sassn_jax.recipes import override, parse, resolve

GIB = 2**30
# The share of a card's memory that a step may take. XLA aims at it too. The rest is for CUDA, the
# code of its libraries, and cuDNN's workspace.
USABLE = 0.8
POOL = 0.75  # the share of a card's memory that JAX reserves

Switches = Mapping[str, Any]  # fields of a config and their new values


class Variant(NamedTuple):
    """A config's switches, and its step with unlabelled images if the run has any."""

    switches: Switches
    step: Step


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was found out about a run.

    Attributes:
      config: the run's config.
      gpu: the GPU to run on.
      devices: number of GPUs.
      tried: the config and its alternatives, up to the first that fits.
      first_step: the step of the last variant as the run begins, without unlabelled images.
    """

    config: Config
    gpu: Gpu
    devices: int
    tried: tuple[Variant, ...]
    first_step: Step

    @property
    def best(self) -> Variant:
        """The variant that fits; if none does, the last that was tried."""
        return self.tried[-1]

    @property
    def fits(self) -> bool:
        """Whether any variant fits."""
        return fits(self.best.step, self.gpu)

    def least_seconds(self) -> float:
        """Returns a lower bound of the time of all steps, each at the GPU's peak."""
        semi_steps = count_semi_steps(self.config)
        steps = (self.first_step, self.best.step)
        first, later = (max(x.least_seconds(self.gpu).values()) for x in steps)
        return (self.config.num_steps - semi_steps) * first + semi_steps * later


def check(fields: ConfigDict, devices: int) -> Config:
    """Returns the typed config without initial weights.

    Raises:
      InputError: the config is not valid, or the devices cannot share its batch.
    """
    config = parse(fields)
    if expanded(config.model.weights).is_file():  # the file says how the network is laid out
        config, _ = resolve(config)
    config = override(config, {"model.weights": ""})
    data.class_names(config.dataset, config.data_dir, config.source, config.files)
    if devices < 1 or config.batch_size % (devices * config.accumulation):
        raise InputError(
            f"--num_gpus={devices}: expected a number that, times accumulation="
            f"{config.accumulation}, divides batch_size={config.batch_size}"
        )
    return config


def make_plan(config: Config, gpu: Gpu, devices: int) -> Plan:
    """Compiles a valid config's step, and its alternatives until one fits."""
    semi_steps = count_semi_steps(config)

    def compile_variant(switches: Switches, unlabeled: bool, which: str = "") -> Step:
        print(f"compiling {describe(switches)}{which}", file=sys.stderr, flush=True)
        variant = override(config, switches)
        return training_step.compile_step(variant, gpu, devices, unlabeled=unlabeled)

    tried: list[Variant] = []
    for switches in ({}, *alternatives(config, devices)):
        step = compile_variant(switches, semi_steps > 0)
        tried.append(Variant(switches, step))
        if fits(step, gpu):
            break
    if fits(step, gpu) and 0 < semi_steps < config.num_steps:
        step = compile_variant(switches, False, ", without unlabelled images")
    return Plan(config, gpu, devices, tuple(tried), step)


def alternatives(config: Config, devices: int) -> list[Switches]:
    """Returns switches that make a config take less memory, the cheapest first.

    bfloat16 costs no time. Rematerialisation costs a forward pass and changes no result.
    Accumulation costs another forward pass, and batch statistics are then those of a piece of the
    batch; every piece is large enough to have some.
    """
    bfloat16: dict[str, Any] = {"model.dtype": "bfloat16"}
    remat = {"model.remat": True}
    share = config.batch_size // devices
    most = min(share, config.batch_size // smallest_batch(config.model.head))
    pieces = [n for n in range(config.accumulation + 1, most + 1) if share % n == 0]
    both = bfloat16 | remat
    found: list[Switches] = []
    for rung in (bfloat16, remat, both, *(both | {"accumulation": n} for n in pieces)):
        changes = {k: v for k, v in rung.items() if override(config, {k: v}) != config}
        if changes and changes not in found:
            found.append(changes)
    return found


def describe(switches: Switches) -> str:
    """Returns a variant's name."""
    pairs = (f"{field.removeprefix('model.')}={value}" for field, value in switches.items())
    return ", ".join(pairs) or "as configured"


def fits(step: Step, gpu: Gpu) -> bool:
    """Whether a GPU has enough memory for a step."""
    return step.memory <= USABLE * gpu.memory


def count_semi_steps(config: Config) -> int:
    """Returns how many steps of a run take unlabelled images."""
    all_labeled = False
    with contextlib.suppress(ValueError, ZeroDivisionError):  # a file of ids, or training's error
        all_labeled = Fraction(config.labels) == 1
    method = methods.create(config, num_classes=1)  # any number of classes will do
    only_labeled = all_labeled and config.unlabeled == "rest" and not _has_unlabeled(config)
    if method.unlabeled_from is None or only_labeled:
        return 0
    return max(0, config.num_steps - method.unlabeled_from)


def _has_unlabeled(config: Config) -> bool:
    """Whether the dataset has images without masks. No published dataset has any."""
    try:
        return (
            data.UNLABELED
            in data.load(config.dataset, config.data_dir, config.source, config.files).splits
        )
    except InputError:  # the dataset is not prepared here
        return False


def table(plan: Plan) -> Table:
    """Returns a table of what each variant takes of one GPU."""
    count = f"{plan.devices} x " if plan.devices > 1 else ""
    gpu = plan.gpu
    columns: dict[str, Callable[[Step], str]] = {
        "memory,\nGiB": lambda step: f"{step.memory / GIB:.2f}",
        "of the\ncard": lambda step: f"{step.memory / gpu.memory:.0%}",
        "scratch,\nGiB": lambda step: f"{step.scratch / GIB:.2f}",
        "attention's\nof it, GiB": lambda step: f"{step.attention / GIB:.2f}",
        "TFLOPs\na step": lambda step: f"{sum(step.flops.values()) / 1e12:.2f}",
        "GB moved\na step": lambda step: f"{step.traffic / 1e9:.1f}",
        "a step takes\nat least, ms": lambda step: (
            f"{1e3 * max(step.least_seconds(gpu).values()):.1f}"
        ),
    }
    result = Table(title=f"{count}{gpu.device_kind}, {gpu.memory / GIB:.1f} GiB", box=SIMPLE)
    result.add_column("", no_wrap=True)
    for name in columns:
        result.add_column(name, justify="right", no_wrap=True)
    for switches, step in plan.tried:
        result.add_row(describe(switches), *(cell(step) for cell in columns.values()))
    return result


def remarks(plan: Plan) -> list[str]:
    """Returns the findings, a line each."""
    config, gpu, step = plan.config, plan.gpu, plan.best.step
    semi_steps = count_semi_steps(config)
    first_steps = config.num_steps - semi_steps
    height, width = config.crop_size
    images = f"{config.batch_size} + {config.batch_size}" if semi_steps else config.batch_size
    networks = ", ".join(f"{name} of {n:,} parameters" for name, n in step.parameters.items())
    lines = [
        f"{config.method} on {config.dataset}, {config.model.backbone}, {config.model.head}: "
        f"{images} images of {height}x{width} a step; {networks}"
    ]
    if not plan.fits:
        return [*lines, f"It does not fit with any of these settings. {_on_top(step, gpu)}"]
    if plan.best.switches:
        changed = (f"--config.{field}={value}" for field, value in plan.best.switches.items())
        lines.append(f"It does not fit as configured; it does with {' '.join(changed)}")
    else:
        lines.append("It fits as configured.")
    if step.recomputed:
        lines.append(
            f"XLA computes {step.recomputed} results twice to save memory. FLOPs count them once."
        )
    if plan.devices > 1:
        lines.append(f"Each GPU sends {step.bytes_sent / 1e6:,.1f} MB a step to the others.")
    bounds = step.least_seconds(gpu)
    lines += [
        f"A step computes for at least {1e3 * bounds['compute']:.1f} ms, moves data for "
        f"{1e3 * bounds['memory']:.1f} ms and sends for {1e3 * bounds['link']:.1f} ms.",
        f"{first_steps:,} steps without unlabelled images and {semi_steps:,} with them: at least "
        f"{format_duration(plan.least_seconds())}, without input and evaluation.",
        _on_top(step, gpu),
    ]
    return lines


def _on_top(step: Step, gpu: Gpu) -> str:
    taken = f"JAX takes {POOL:.0%} of a card unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise"
    if fits(step, gpu) and step.memory > POOL * gpu.memory:
        taken += ": set it to 0.9, since this run needs more"
    return (
        f"A run fits if its step takes at most {USABLE:.0%} of the card. The rest is for CUDA, the "
        f"allocator and cuDNN's workspace, whose size is known only on the GPU. {taken}."
    )


def format_duration(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours, as text."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"


def figures(plan: Plan) -> dict[str, Any]:
    """Returns everything in a plan, for JSON."""
    return {
        "gpu": plan.gpu.device_kind,
        "num_gpus": plan.devices,
        "memory_of_gpu": plan.gpu.memory,
        "fits": plan.fits,
        "tried": [
            {
                "switches": variant.switches,
                "step": dataclasses.asdict(variant.step),
                "memory": variant.step.memory,
                "least_seconds": variant.step.least_seconds(plan.gpu),
            }
            for variant in plan.tried
        ],
        "first_step": dataclasses.asdict(plan.first_step),
        "least_seconds": plan.least_seconds(),
    }
