"""What a run says before it begins: what it is, what was inferred, and what it lacks."""

import math
from collections.abc import Iterator

from sassn_jax.data.inspection import large_image_note
from sassn_jax.data.proposals import proposal_notes
from sassn_jax.data.skipping import first_readable
from sassn_jax.training import parallel
from sassn_jax.training.origin import read_origin
from sassn_jax.training.setup import Setup
from sassn_jax.training.workdir import Workdir

NAMED = 8  # classes
SLOW = "resnet101"  # on a CPU; what `configs/folder.py` trains


def introduce_run(
    setup: Setup, folder: Workdir, start: int, pretrained: tuple[str, ...]
) -> Iterator[str]:
    """Yields the lines on a run that goes on after `start` steps in a folder.

    Args:
      setup: of the run.
      folder: of the run, which has begun.
      start: steps that have been taken.
      pretrained: the parts of the network that the file of weights gives.
    """
    config, split = setup.config, setup.split
    rest = f"from step {start} to {config.num_steps}"
    if start == config.num_steps:
        rest = f"all {start} steps have been taken"
    yield (
        f"{config.dataset} {config.method}, {len(split.labeled)} images labelled, "
        f"{len(split.unlabeled)} not; {rest} on {parallel.describe(setup.mesh)}; {folder.path}"
    )
    yield from introduce(setup)
    if reason := without_unlabeled(setup):
        yield reason
    if start == 0 and pretrained:
        yield f"{', '.join(pretrained)} from {config.model.weights}"
    if setup.changed:
        yield f"set from {config.model.weights}: {', '.join(setup.changed)}"
    if origin := read_origin(folder):
        yield origin.describe()
    *former, _ = folder.read_lengths()
    if former and start < config.num_steps and config.optimizer.poly_power:
        yield (
            f"continued from {former[-1]} steps: the learning rates are those of a run of "
            f"{config.num_steps} steps from here on"
        )
    if start < config.num_steps:
        yield "building and compiling comes first, which may take minutes"


def introduce(setup: Setup) -> tuple[str, ...]:
    """Returns a few lines on a folder of own images; none for a dataset that is known."""
    config, dataset = setup.config, setup.dataset
    if config.dataset != "folder":
        return ()
    names = dataset.info.class_names
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    others = ", ".join(
        f"{len(dataset.splits[split])} {what}"
        for split, what in (("val", "for validation"), ("test", "for tests"))
        if split in dataset.splits
    )
    passes = config.num_steps * config.batch_size / len(setup.split.labeled)
    lines = [
        f"{len(names)} classes: {', '.join(names[:NAMED])}{more}; images with masks: "
        f"{len(setup.split.labeled)} to train on, {others}; {len(setup.split.unlabeled)} without",
        f"crop_size={config.crop_size}, batch_size={config.batch_size}, "
        f"num_steps={config.num_steps} ({math.ceil(passes)} passes over the images with masks), "
        f"image.mean={config.image.mean}; to change one: --config.FIELD=VALUE",
        *proposal_notes({x: y.ids for x, y in dataset.splits.items()}, dataset.proposed),
    ]
    height, width, _ = first_readable(dataset.splits["val"])["image"].shape
    lines += large_image_note(config.crop_size, (height, width), "the first image of val")
    first = setup.method.unlabeled_from or 0
    if setup.split.unlabeled and 0 < first < config.num_steps:
        field = setup.method.start_field
        lines.append(f"images without masks take part from step {first} on ({field})")
    if setup.mesh.devices.flat[0].platform == "cpu" and config.model.backbone == SLOW:
        lines.append(
            f"on a CPU a {SLOW} takes many seconds a step; docs/own-data.md has a command for a "
            'laptop, with a smaller network ("On a laptop")'
        )
    if not config.model.weights:
        lines.append(
            "no pretrained weights: the network starts from random numbers, which costs much "
            "accuracy where masks are few; docs/weights.md says how to get "
            f"--config.model.weights=FILE for {config.model.backbone}"
        )
    return tuple(lines)


def without_unlabeled(setup: Setup) -> str:
    """Returns why no step of a run takes unlabelled images; empty if one does, or none should."""
    config, first = setup.config, setup.method.unlabeled_from
    if first is None:
        return ""
    if not setup.split.unlabeled and config.unlabeled == "rest":
        again = (
            "; images whose proposed masks you take out of labels/ are unlabelled again"
            if setup.dataset.proposed
            else ""
        )
        return (
            f"no unlabelled images are left for method={config.method}, since all training images "
            "are used with their masks: --config.unlabeled=all takes them without their masks as "
            f"well, and --config.labels=1/2 uses half of the masks{again}"
        )
    if first >= config.num_steps:
        return (
            f"no step takes unlabelled images: --config.{setup.method.start_field}={first} "
            f"is the first that would, and num_steps={config.num_steps}"
        )
    return ""
