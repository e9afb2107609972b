"""Looks at a dataset before a run: sassn inspect --config=FILE.py.

    sassn inspect --config=configs/camvid.py:labels=1/8 --config.data_dir=DATA --output=DIR

In a checkout, `python -m experiments.inspect` is the same command. It reads every image and mask,
and prints the numbers and sizes of the images, the share of each class in each split, and what is
usually a mistake: classes that are missing, masks with a single class, images of two splits that
look the same, files that cannot be read. It goes on without them, and ends with exit code 1.

--config.source=FOLDER looks at files that have not been prepared. --output writes the numbers as
DIR/inspect.json, and a picture of up to 24 images with their masks as DIR/inspect.png. Images that
look the same are found by the package imagehash: pip install 'sassn_jax[inspect]'.
"""

import collections
import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags
from rich import box
from rich.table import Table

from sassn_jax import data
from sassn_jax.commands import command
from sassn_jax.commands.tables import class_table
from sassn_jax.data.contact_sheet import draw_sheet
from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.duplicates import is_available
from sassn_jax.data.inspection import (
    LABELED_PART,
    Inspection,
    inspect,
    large_image_note,
    spread,
)
from sassn_jax.data.layout import Layout
from sassn_jax.data.layout_source import read_unprepared
from sassn_jax.data.lists import group_alike
from sassn_jax.errors import InputError, check_name
from sassn_jax.files import expanded, replacing, write_json
from sassn_jax.terminal import make_console

SHOWN = 10  # lines of a kind about single images that are printed, unless the images are broken


def run() -> None:
    """Runs the command."""
    config = config_flags.DEFINE_config_file(
        "config", None, "Config file, such as configs/camvid.py:method=sassn,labels=1/8."
    )
    output = command.define_path(
        "output", None, "Folder for inspect.json and inspect.png; made if it is not there."
    )
    flags.mark_flag_as_required("config")
    command.run(lambda: _inspect(config.value, output.value))


def _inspect(given: ConfigDict, output: str | None) -> None:
    """Inspects the dataset of a config, prints the result, and writes it."""
    from sassn_jax import recipes  # after the flags: JAX takes seconds

    config = recipes.parse(given)

    def look(dataset: data.Dataset) -> Inspection:
        ids = dataset.splits["train"].ids
        labeled = data.choose_labeled(ids, config.labels, config.seed).labeled
        with command.progress(f"inspecting {config.dataset}") as show:
            return inspect(dataset, labeled, duplicates=is_available(), progress=show)

    layout = _read_layout(config.dataset, config.source, config.files)
    notes: tuple[str, ...] = ()
    if layout is None:
        dataset = data.load(config.dataset, config.data_dir, config.source, config.files)
        found = look(dataset)
    else:
        dataset, notes = _unprepared(config.dataset, layout)
        found = look(dataset)
        with contextlib.suppress(InputError):  # a run would be refused; all is printed
            if found.damaged:  # as `prepare` does, so that the splits are those of a run
                less, said = _unprepared(config.dataset, layout.without(found.damaged))
                left_out = tuple(x for x in found.unreadable if x.id in found.damaged)
                found = dataclasses.replace(look(less), left_out=left_out)
                dataset, notes = less, said
    heights, widths = found.parts["train"].heights, found.parts["train"].widths
    if config.dataset == "folder" and heights:
        median = sorted(heights)[len(heights) // 2], sorted(widths)[len(widths) // 2]
        which = "the median training image"
        notes = (*notes, *large_image_note(config.crop_size, median, which))
    _print(config.dataset, found, notes)
    if output:
        about = {"dataset": config.dataset, "labels": config.labels, "seed": config.seed}
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        numbers, picture = folder / "inspect.json", folder / "inspect.png"
        write_json(numbers, {**about, "notes": list(notes), **found.describe()})
        with replacing(picture) as beside:
            draw_sheet(dataset, found).save(beside, format="png")
        print(f"written: {numbers}, {picture}")
    if found.unreadable or found.left_out:
        sys.exit(1)


def _read_layout(name: str, source: str, limits: data.FileLimits) -> Layout | None:
    """Returns which images a source holds; None if a dataset is given that has been prepared."""
    if source and name != "folder" and not expanded(source).exists():
        raise InputError(f"source={source!r}: no such folder; expected {name} as it is published")
    if not source or not expanded(source).exists():
        return None
    check_name("dataset", name, data.PREPARED, " with a source")
    return data.PREPARED[name].read_layout(source, limits)


def _unprepared(name: str, layout: Layout) -> tuple[data.Dataset, tuple[str, ...]]:
    """Returns the dataset of a layout, and notes on how its files are read."""
    with command.progress(f"looking at the masks of {name}") as show:
        layout = layout.examined(show)
    colors = {**data.PREPARED[name].colors, **layout.colors}
    return read_unprepared(name, layout, colors), layout.notes


def _print(name: str, found: Inspection, notes: Sequence[str]) -> None:
    console = make_console()
    console.print(f"{name}, {len(found.class_names)} classes", soft_wrap=True)
    console.print(_image_table(found))
    counts = found.counts
    if LABELED_PART in counts:  # all four splits are too wide for a terminal; the JSON has them
        del counts["train"]
    if counts:
        console.print(class_table(found.class_names, counts))
    for note in notes:
        print(f"note: {note}")
    if found.near_duplicates is None:
        print("images that look the same were not looked for: pip install 'sassn_jax[inspect]'")
    duplicates = found.near_duplicates or ()
    alike = [
        f"{x.split} {x.id!r} looks like {x.other_split} {x.other_id!r} (hashes differ in "
        f"{x.distance} of 64 bits)"
        # Those that make scores too high come first.
        for x in sorted(duplicates, key=lambda x: {x.split, x.other_split} <= {"train", UNLABELED})
    ]
    odd_masks = [f"mask of {x.split} {x.id!r}: {x.text}" for x in found.odd_masks]
    for line in (
        *found.oddities,
        *_first(alike),
        *_first(odd_masks),
        *group_alike(
            {x.id: f"{x.split} {x.id!r} cannot be read: {x.text}" for x in found.unreadable}
        ),
    ):
        command.warn(line)


def _image_table(found: Inspection) -> Table:
    """For each split, the number of its images and their sizes."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("split")
    for heading in ("images", "width (pixels)", "height (pixels)"):
        table.add_column(heading, justify="right")
    lost = collections.Counter(x.split for x in (*found.unreadable, *found.left_out))
    if lost:
        table.add_column("cannot be read", justify="right")
    for name, part in found.parts.items():
        lengths = map(_format, (spread(part.widths), spread(part.heights)))
        unread = [str(lost[name]) if name in lost else "-"] if lost else []
        table.add_row(name, str(len(part.ids)), *lengths, *unread)
    return table


def _format(lengths: dict[str, float] | None) -> str:
    """Writes the result of `spread`."""
    if lengths is None:
        return "-"
    smallest, median, largest = (f"{value:g}" for value in lengths.values())
    return smallest if smallest == largest else f"{smallest} to {largest}, median {median}"


def _first(lines: Sequence[str]) -> list[str]:
    """Returns the first `SHOWN` lines about single images, and a line that counts the others."""
    others = len(lines) - SHOWN
    more = [f"and {others} more such images; --output=DIR writes all"] if others > 0 else []
    return [*lines[:SHOWN], *more]
