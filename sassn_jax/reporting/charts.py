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
# Colours that people with any kind of colour vision tell apart (Okabe and Ito).
COLORS = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b8568c", "#a67200", "#56b4e9"),
    "dark": ("#56b4e9", "#e69f00", "#2fc795", "#e29bc3", "#f0e442", "#ff8a5c"),
}
INK = {"light": "#1c2430", "dark": "#e6e9ee"}
GRID = {"light": "#d5dae2", "dark": "#3b4452"}

Curve = tuple[Sequence[float], Sequence[float]]  # steps and values


class Chart(NamedTuple):
    """A chart as two data URIs and the text for those who do not see it."""

    light: str
    dark: str
    alt: str


def draw_curves(curves: Mapping[str, Curve], title: str, alt: str) -> Chart:
    """Draws values over steps.

    Args:
      curves: by the name of the run, or of the metric.
      title: of the chart.
      alt: what it shows, in words.
    """

    def draw(figure: Any, theme: str) -> None:
        axes = figure.subplots()
        for number, (name, (steps, values)) in enumerate(curves.items()):
            marker = "o" if len(steps) < 20 else ""
            color = COLORS[theme][number % len(COLORS[theme])]
            axes.plot(steps, values, marker=marker, markersize=3, label=name, color=color)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.grid(color=GRID[theme], linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)

    return _draw(draw, (WIDTH, 3.0), alt)


def draw_bars(
    bars: Mapping[str, Float[np.ndarray, " C"]], class_names: Sequence[str], alt: str
) -> Chart:
    """Draws the IoU of each class as horizontal bars.

    Args:
      bars: IoU of each class by the name of the run; NaN for a class that occurs nowhere.
      class_names: in order of class id.
      alt: what the chart shows, in words.
    """
    thickness = 0.8 / len(bars)

    def draw(figure: Any, theme: str) -> None:
        axes = figure.subplots()
        places = np.arange(len(class_names))
        for number, (name, values) in enumerate(bars.items()):
            shift = (number - (len(bars) - 1) / 2) * thickness
            color = COLORS[theme][number % len(COLORS[theme])]
            axes.barh(places + shift, np.nan_to_num(values), thickness, label=name, color=color)
        axes.set_yticks(places, [_short(name) for name in class_names])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("IoU")
        axes.grid(axis="x", color=GRID[theme], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(bars) > 1:
            axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0))

    height = 1.0 + len(class_names) * (0.14 + 0.12 * len(bars)) + 0.2 * (len(bars) > 1)
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
