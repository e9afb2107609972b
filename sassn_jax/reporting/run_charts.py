"""The charts of a report that are drawn from what runs have logged and scored."""

from collections.abc import Mapping, Sequence

import numpy as np

from sassn_jax.reporting.charts import Chart, Curve, draw_confusion, draw_curves
from sassn_jax.reporting.collecting import RunSummary

LONGEST = 400  # points of a curve, evenly spaced, the first and the last among them

# Of each chart of curves: its title, the beginning of its metrics' names, and whether in percent.
CURVES = (
    ("mIoU on val", "val/miou", True),
    ("Losses", "loss/", False),
    ("Mean confidence of the discriminator", "confidence/", True),
    ("Unlabelled pixels that it trusts", "self_training/", True),
    ("Unlabelled pixels that the network is sure of", "consistency/", True),
    ("Weight of attention", "alpha/", False),
    ("Size of the discriminator's kernels", "sigma/", False),
    ("Images a second", "images_per_second", False),
)
# Names of curves, in place of the ends of the metrics' names.
PLAIN = {
    "cross_entropy": "on labels",
    "real": "for drawn masks",
    "fake": "for predictions",
    "kept": "share of pixels",
    "precision": "of these, right",
}


def run_curves(summary: RunSummary) -> list[Chart]:
    """Draws what a run has logged, a chart for each of `CURVES` that has more than one value."""
    names = {name for row in summary.rows for name in row}
    charts = []
    for title, prefix, in_percent in CURVES:
        curves = {
            _plain(name.removeprefix(prefix)) or title: _curve(summary, name)
            for name in sorted(names)
            if name.startswith(prefix)
        }
        shown = {name: curve for name, curve in curves.items() if curve[0]}
        if any(len(steps) > 1 for steps, _ in shown.values()):  # one value is no curve
            alt = f"{title} over the steps of {summary.name}: {_in_words(shown)}"
            charts.append(draw_curves(shown, title, alt, in_percent=in_percent))
    return charts


def _plain(name: str) -> str:
    return PLAIN.get(name, name.replace("_", " "))


def _curve(summary: RunSummary, name: str) -> Curve:
    known = [(row["step"], row[name]) for row in summary.rows if row.get(name) is not None]
    if len(known) > LONGEST:  # more than a chart can show
        known = [known[place] for place in np.linspace(0, len(known) - 1, LONGEST).astype(int)]
    return [step for step, _ in known], [value for _, value in known]  # type: ignore[misc]


def _in_words(curves: Mapping[str, Curve]) -> str:
    return "; ".join(
        f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in curves.items()
    )


def confusion(summary: RunSummary) -> Chart:
    """Draws the confusion matrix of the scored split."""
    counts = summary.matrix.counts.astype(float)
    of_label = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, of_label, out=np.full_like(counts, np.nan), where=of_label > 0)
    wrong = np.nan_to_num(shares * (1 - np.eye(len(shares))))
    label, guess = np.unravel_index(wrong.argmax(), wrong.shape)
    names = summary.info.class_names
    alt = (
        f"Confusion matrix of {summary.name} on {summary.split}. Most often, {names[label]} was "
        f"taken for {names[guess]}: {100 * wrong.max():.0f}% of its pixels."
    )
    return draw_confusion(shares, names, alt)


def compared_curves(summaries: Sequence[RunSummary]) -> list[Chart]:
    """Draws the most telling curves of several runs, a chart for each with all runs."""
    charts = []
    for title, name, in_percent in (
        ("mIoU on val", "val/miou", True),
        ("Loss on labels", "loss/cross_entropy", False),
        ("Loss of the discriminator", "loss/discriminator", False),
    ):
        curves = {summary.name: _curve(summary, name) for summary in summaries}
        shown = {run: curve for run, curve in curves.items() if curve[0]}
        if any(len(steps) > 1 for steps, _ in shown.values()):
            alt = f"{title} by run: {_in_words(shown)}"
            charts.append(draw_curves(curves, title, alt, in_percent=in_percent))
    return charts
