"""Tables of pictures under headings."""

from collections.abc import Callable, Iterable
from pathlib import Path

from sassn_jax.prediction.run import Run
from sassn_jax.training.pictures import Picture, headed_table
from sassn_jax.training.summaries import picture_row, write_picture


def draw_predictions(
    path: Path,
    runs: Iterable[tuple[str, Run]],
    split: str,
    choose: Callable[[int], Iterable[int]],
    width: int,
) -> None:
    """Draws a row for each of some images: input, truth, and the prediction of each run.

    Args:
      path: of the PNG file.
      runs: with their headings; at least one, and all of one dataset.
      split: of the dataset.
      choose: returns the indices of the images, given the number of images in the split.
      width: the pictures are enlarged by a whole number, up to this many pixels.
    """
    headings = ["input", "truth"]
    rows: list[list[Picture]] = []
    for heading, run in runs:
        source = run.dataset.splits[split]
        examples = (source[index] for index in choose(len(source)))
        drawn = [picture_row(x, run.predict(x["image"]).ids, run.dataset.info) for x in examples]
        rows = [old + new[2:] for old, new in zip(rows, drawn, strict=True)] if rows else drawn
        headings.append(heading)
    enlarged = max(1, width // rows[0][0].shape[1])
    write_picture(path, headed_table(headings, rows, enlarged))
