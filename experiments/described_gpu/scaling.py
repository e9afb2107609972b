"""How a run grows with the number of GPUs: what each of them holds, computes and sends."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.table import Table

from experiments.described_gpu import planning, training_step
from experiments.described_gpu.gpus import MACHINE, Gpu
from experiments.described_gpu.training_step import Step
from sassn_jax.config import Config
from sassn_jax.recipes import override

# The kinds of exchange that have a column of their own.
KINDS = ("all-reduce", "all-gather", "reduce-scatter")


class Point(NamedTuple):
    """The step on some number of GPUs: with all parameters on each of them, or with a share."""

    sharded: bool
    step: Step


def compile_points(config: Config, gpu: Gpu, counts: Sequence[int]) -> list[Point]:
    """Compiles the step for every number of GPUs, each of which takes a batch of the config."""
    unlabeled = planning.count_semi_steps(config) > 0
    points = []
    for count in counts:
        for sharded in (False, True) if count > 1 else (False,):
            name = "shared" if sharded else "whole"
            print(f"compiling for {count}, parameters {name}", file=sys.stderr, flush=True)
            of_all = override(
                config,
                {"batch_size": count * config.batch_size, "parallel.shard_params": sharded},
            )
            step = training_step.compile_step(of_all, gpu, count, unlabeled=unlabeled)
            points.append(Point(sharded, step))
    return points


def least_seconds(step: Step, gpu: Gpu) -> tuple[float, float]:
    """Returns the least time for which a GPU computes or moves data, and for which it sends."""
    bounds = step.least_seconds(gpu)
    return max(bounds["compute"], bounds["memory"]), bounds["link"]


def share_sending(step: Step, gpu: Gpu) -> float:
    """Returns the share of the time that goes to sending if a GPU does nothing meanwhile."""
    computes, sends = least_seconds(step, gpu)
    return sends / (computes + sends)


def table(points: Sequence[Point], gpu: Gpu) -> Table:
    """Returns a table of what each GPU takes, computes and sends in a step."""

    def megabytes(*kinds: str) -> Callable[[Step], str]:
        return lambda step: (
            f"{sum(x.size for kind, x in step.sent.items() if kind in kinds) / 1e6:,.1f}"
        )

    def others(step: Step) -> str:
        return megabytes(*(kind for kind in step.sent if kind not in KINDS))(step)

    columns: dict[str, Callable[[Step], str]] = {
        "memory,\nGiB": lambda step: f"{step.memory / planning.GIB:.2f}",
        "of it\nstate,\nGiB": lambda step: f"{step.arguments / planning.GIB:.3f}",
        "TFLOPs": lambda step: f"{sum(step.flops.values()) / 1e12:.2f}",
        **{kind.replace("-", "-\n") + ",\nMB": megabytes(kind) for kind in KINDS},
        "others,\nMB": others,
        "ex-\nchanges": lambda step: str(sum(x.times for x in step.sent.values())),
        "computes,\nms": lambda step: f"{1e3 * least_seconds(step, gpu)[0]:.1f}",
        "sends,\nms": lambda step: f"{1e3 * least_seconds(step, gpu)[1]:.2f}",
        "share\nsending": lambda step: f"{share_sending(step, gpu):.1%}",
    }
    result = Table(title=f"What each {gpu.device_kind} does in a step", box=SIMPLE)
    result.add_column("GPUs", justify="right", no_wrap=True)
    result.add_column("param-\neters", no_wrap=True)
    for name in columns:
        result.add_column(name, justify="right", no_wrap=True)
    for sharded, step in points:
        cells = (cell(step) for cell in columns.values())
        result.add_row(str(step.devices), "shared" if sharded else "whole", *cells)
    return result


def remarks(config: Config, gpu: Gpu) -> list[str]:
    """Returns what the table is of, a line each."""
    size = config.batch_size
    images = f"{size} + {size}" if planning.count_semi_steps(config) else size
    between = f" and {gpu.network_bandwidth / 1e9:.0f} GB/s between machines"
    return [
        f"{config.method} on {config.dataset}, {config.model.backbone}: {images} images on each "
        "GPU, so that the batch grows with their number.",
        "Times are the least: computing at the peaks of the data sheet, sending in rings at "
        f"{gpu.link_bandwidth / 1e9:.1f} GB/s within a machine of up to {MACHINE} GPUs"
        f"{between if gpu.network_bandwidth else ''}, without any latency.",
    ]


def figures(points: Sequence[Point], gpu: Gpu) -> dict[str, Any]:
    """Returns everything in the table, for JSON."""
    return {
        "gpu": gpu.device_kind,
        "scaling": [
            {
                "num_gpus": step.devices,
                "shard_params": sharded,
                "step": dataclasses.asdict(step),
                "memory": step.memory,
                "least_seconds": step.least_seconds(gpu),
                "share_sending": share_sending(step, gpu),
            }
            for sharded, step in points
        ],
    }
