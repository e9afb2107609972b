"""Scoring a trained run, and writing its scores."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from sassn_jax import data, processes
from sassn_jax.data.skipping import tally_of
from sassn_jax.errors import InputError, UnreadableError
from sassn_jax.evaluation import PaddedBatch
from sassn_jax.files import write_json
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.training.workdir import Workdir


def evaluate_run(
    workdir: str | Path,
    split: str = "val",
    checkpoint: str = "latest",
    on_images: Callable[[int, int], None] = lambda done, total: None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Scores a run on a split, and writes the result into its folder, see `write_scores`.

    Args:
      workdir: of the run, or an exported file, beside which the scores are written.
      split: a name of its dataset's splits.
      checkpoint: `latest`, or `best` by mIoU on the validation split.
      on_images: called with the number of images done and the number of all images.
      overrides: other values of fields of its config, by dotted name, such as `eval.mirror`.

    Returns:
      `split`, `step`, `miou`, `pixel_accuracy`, `iou` by class name, `left_out` (the ids of images
      that cannot be read, a share of at most `config.max_unreadable`), and `overrides` if there are
      any that can change a score: any besides `data_dir`, `source`, `eval_batch_size` and
      `max_unreadable`.

    Raises:
      InputError: if there is no such run, checkpoint or split, a value is wrong, or the dataset has
        other classes than the run's network.
      OSError: naming the file of the scores, where it cannot be written.
    """
    result = score_run(load_run(workdir, checkpoint, overrides), split, on_images)
    write_scores(workdir, result)
    return result


def score_run(
    run: Run,
    split: str = "val",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Does what `evaluate_run` does with a loaded run, but writes nothing.

    Of several processes, each scores its share of the images, and all return the scores of all.
    """
    splits = {name: source for name, source in run.dataset.splits.items() if name != data.UNLABELED}
    if split not in splits:
        raise InputError(f"split={split!r}: expected one of {', '.join(splits)}")
    source, done = splits[split], 0

    def count(batch: PaddedBatch, _: jax.Array) -> None:
        nonlocal done
        done += len(batch.indices)
        on_images(done, len(processes.share(len(source))))

    left_out: list[int] = []
    unreadable = tally_of(split, len(source), run.config.max_unreadable)

    def leave_out(index: int, error: UnreadableError) -> None:
        nonlocal done
        done += 1
        left_out.append(index)
        unreadable.add(source.ids[index], str(error))

    matrix = run.score(source, count, leave_out)
    of_all = [source.ids[i] for i in processes.union(left_out, len(source))]
    for id_ in of_all:  # each process has counted its own share alone
        unreadable.add(id_, f"image {id_!r}: another process cannot read it")
    # Folders of this machine change no score, and are nobody else's concern.
    neutral = ("data_dir", "source", "eval_batch_size", "max_unreadable")
    showing = {name: value for name, value in run.overrides.items() if name not in neutral}
    return {
        "split": split,
        "step": run.step,
        **matrix.summary(run.dataset.info.class_names),
        "left_out": sorted(of_all),
        **({"overrides": showing} if showing else {}),
    }


def write_scores(workdir: str | Path, result: Mapping[str, Any]) -> None:
    """Writes what `score_run` returned into the run's folder, as `eval_SPLIT.json`.

    A result with `overrides` is written to `eval_SPLIT_overrides.json`: the other file is the score
    by the run's own config.

    The scores of an exported `NAME.safetensors` go beside it, as `NAME_eval_SPLIT.json`.

    Raises:
      OSError: naming the file, where it cannot be written.
    """
    folder = Workdir.at(workdir)
    if folder.path.is_file():
        name = folder.scores(result["split"], overridden="overrides" in result).name
        write_json(folder.path.with_name(f"{folder.path.stem}_{name}"), result)
    else:
        folder.write_scores(result)
