"""Prepares a dataset, once, so that training can read it.

    sassn prepare --dataset=camvid --source=FOLDER --data_dir=DATA
    sassn prepare --dataset=folder --source=photos

In a checkout, `python -m experiments.prepare` is the same command. It prints how often each class
occurs in each split, and warns of likely mistakes: classes that occur nowhere, ids that seem to
begin at 1, masks in which every pixel is ignored.
"""

from pathlib import Path

from absl import flags

from sassn_jax import data
from sassn_jax.commands import command
from sassn_jax.commands.tables import class_table
from sassn_jax.data import folder_places, records
from sassn_jax.data.limits import LIMITS
from sassn_jax.data.statistics import find_oddities
from sassn_jax.terminal import make_console


def run() -> None:
    """Runs the command."""
    dataset = flags.DEFINE_string("dataset", None, f"One of {', '.join(data.PREPARED)}.")
    source = command.define_path(
        "source", None, "Folder of your images, or of the dataset as published (docs/datasets.md)."
    )
    data_dir = command.define_path(
        "data_dir",
        None,
        "Folder for prepared datasets. Not needed for --dataset=folder.",
    )
    max_pixels = flags.DEFINE_integer(
        "max_pixels", data.FileLimits.max_pixels, "The most pixels that an image may have."
    )
    follow_links = flags.DEFINE_bool(
        "follow_links", False, "Also read files behind links that lead out of --source."
    )
    command.run(
        lambda: _prepare(
            command.required(dataset),
            command.required(source),
            data_dir.value or "" if dataset.value == "folder" else command.required(data_dir),
            data.FileLimits(max_pixels.value, follow_links.value),
        ),
        "run it again, and what it had checked is not checked again",
    )


def _prepare(name: str, source: str, data_dir: str, limits: data.FileLimits) -> None:
    """Prepares a dataset, and prints what it holds."""
    with command.progress(f"preparing {name}") as show:
        wrote = data.prepare(name, source, data_dir, show, limits)
    place = str(folder_places.place(source, data_dir)) if name == "folder" else data_dir
    before = f"had been prepared already (remove {Path(place) / name} to do so again):"
    show_prepared(name, place, "prepared" if wrote else before, limits)


def show_prepared(
    name: str,
    data_dir: str,
    what: str = "prepared",
    limits: data.FileLimits = LIMITS,
) -> None:
    """Prints what a prepared dataset holds, and on standard error what looks wrong in it.

    Args:
      name: of the dataset.
      data_dir: the folder in which the dataset `name` was prepared.
      what: has been done with it, for the first line.
      limits: see `data.load`.
    """
    dataset = data.load(name, data_dir, limits=limits)  # which checks that all of it can be read
    counts = ", ".join(f"{len(images)} {split}" for split, images in dataset.splits.items())
    print(f"{data_dir}: {what} {name}, {dataset.info.num_classes} classes, images: {counts}")
    description = records.read_description(name, data_dir)
    make_console().print(class_table(description.class_names, description.counts))
    for note in description.notes:
        print(f"note: {note}")
    for oddity in find_oddities(description.class_names, description.counts):
        command.warn(oddity)
