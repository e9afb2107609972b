"""The charts of a report: SVG by Matplotlib, one for a light page and one for a dark page."""

import base64
import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

WIDTH = 4.6  # inches; a phone shows this about as wide as it is, so that the text stays readable
MANY_CLASSES = 12  # with more classes, no number is written into a cell of the confusion matrix
# Colours that people with any kind of colour vision tell apart (after Okabe and Ito), each with a
# contrast of at least 3 to the page.
COLORS = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b8568c", "#a67200", "#4d4d4d"),
    "dark": ("#56b4e9", "#e69f00", "#2fc795", "#e29bc3", "#f0e442", "#ff8a5c"),
}
LEGEND_COLUMNS = 2
DASHES = ("-", "--", "-.", ":")
INK = {"light": "#1c2430", "dark": "#e6e9ee"}
GRID = {"light": "#d5dae2", "dark": "#3b4452"}

Curve = tuple[Sequence[float], Sequence[float]]  # steps and values


class Chart(NamedTuple):
    """A chart as two data URIs and the text for those who do not see it."""

    light: str
    dark: str
    alt: str


def draw_curves(
    curves: Mapping[str, Curve], title: str, alt: str, *, in_percent: bool = False
) -> Chart:
    """Draws values over steps.

    Args:
      curves: by the name of the run, or of the metric; an empty one keeps its place in the colours,
        so that a run has the same colour in all charts.
      title: of the chart.
      alt: what it shows, in words.
      in_percent: whether 0 to 1 is written as 0% to 100%.
    """

    def draw(figure: Any, theme: str) -> None:
        axes = figure.subplots()
        for number, (name, (steps, values)) in enumerate(curves.items()):
            if not steps:
                continue
            dashes = number % len(DASHES)
            marker = "o" if len(steps) < 20 else ""
            color = COLORS[theme][number % len(COLORS[theme])]
            axes.plot(
                steps,
                values,
                DASHES[dashes],
                marker=marker,
                markersize=3,
                label=_short(name),
                color=color,
                zorder=2 + dashes / 10,  # an unbroken curve shows through an equal one upon it
            )
        _head(axes, title)
        if in_percent:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.set_xlabel("step")
        axes.locator_params(axis="x", integer=True)
        axes.grid(color=GRID[theme], linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        _add_legend(figure, len(curves))

    return _draw(draw, (WIDTH, 2.8 + _legend_height(len(curves))), alt)


def draw_bars(
    bars: Mapping[str, Float[np.ndarray, " C"]], class_names: Sequence[str], title: str, alt: str
) -> Chart:
    """Draws the IoU of each class as horizontal bars.

    Args:
      bars: IoU of each class by the name of the run; NaN for a class that occurs nowhere.
      class_names: in order of class id.
      title: of the chart.
      alt: what the chart shows, in words.
    """
    thickness = 0.8 / len(bars)

    def draw(figure: Any, theme: str) -> None:
        axes = figure.subplots()
        places = np.arange(len(class_names))
        for number, (name, values) in enumerate(bars.items()):
            shift = (number - (len(bars) - 1) / 2) * thickness
            color = COLORS[theme][number % len(COLORS[theme])]
            axes.barh(
                places + shift, np.nan_to_num(values), thickness, label=_short(name), color=color
            )
        axes.set_yticks(places, [_short(name) for name in class_names])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        _head(axes, title)
        axes.grid(axis="x", color=GRID[theme], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        _add_legend(figure, len(bars))

    height = 1.0 + len(class_names) * (0.14 + 0.12 * len(bars)) + _legend_height(len(bars))
    return _draw(draw, (WIDTH, height), alt)


def draw_confusion(shares: Float[np.ndarray, "C C"], class_names: Sequence[str], alt: str) -> Chart:
    """Draws a confusion matrix.

    Args:
      shares: of the pixels of a label (row) that were predicted as each class (column); NaN in the
        row of a class without pixels.
      class_names: in order of class id.
      alt: what the chart shows, in words.
    """
    count = len(class_names)
    names = [_short(name) for name in class_names]

    def draw(figure: Any, theme: str) -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")
        if count <= MANY_CLASSES:
            for (row, column), share in np.ndenumerate(shares):
                if np.isfinite(share):
                    color = "white" if share > 0.5 else INK["light"]
                    text = f"{100 * share:.0f}"
                    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)

    side = max(WIDTH, 1.6 + 0.28 * count)
    return _draw(draw, (side, side), alt)


def _head(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)


def _add_legend(figure: Any, count: int) -> None:
    """Adds a legend below the chart, unless there is only one thing to tell of."""
    if count > 1:
        figure.legend(frameon=False, fontsize=8, loc="outside lower left", ncols=LEGEND_COLUMNS)


def _legend_height(count: int) -> float:
    return 0.2 * -(-count // LEGEND_COLUMNS) if count > 1 else 0.0


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def _draw(draw: Callable[[Any, str], None], size: tuple[float, float], alt: str) -> Chart:
    return Chart(_svg(draw, size, "light"), _svg(draw, size, "dark"), alt)


def _svg(draw: Callable[[Any, str], None], size: tuple[float, float], theme: str) -> str:
    from matplotlib.figure import Figure

    with _style(theme):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, theme)
        content = io.BytesIO()
        # Without a date, so that the same run gives the same page.
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode("ascii")


@contextlib.contextmanager
def _style(theme: str) -> Iterator[None]:
    import matplotlib

    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = {  # Matplotlib types its keys as a list of all literals
        **dict.fromkeys(names, INK[theme]),
        "font.size": 9,
        "font.family": "sans-serif",
        "svg.fonttype": "none",  # text, which the browser sets with fonts for every script
        "svg.hashsalt": "report",
        "text.parse_math": False,  # a class may be called `$x$`
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Matplotlib measures text with a font that lacks some scripts; the browser has others.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        yield
