"""The page of a report: `write_report` makes one HTML file that needs nothing else."""

import base64
import importlib.metadata
import importlib.resources
import importlib.util
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.drawing import CONFIDENCE
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded, replacing
from sassn_jax.reporting.charts import draw_bars
from sassn_jax.reporting.collecting import PicturedImage, RunSummary, summarize_run
from sassn_jax.reporting.health import Verdict, judge, not_judged
from sassn_jax.reporting.run_charts import compared_curves, confusion, run_curves

LIMIT = 10 * 2**20  # bytes of a page, so that it can be sent by mail
PICTURE_WIDTH = 400  # pixels
MISSING = "–"  # noqa: RUF001 (an en dash, as tables have it)

WORST_FIRST: tuple[Verdict, ...] = ("bad", "look at it", "good")
CAPTIONS = ("photo", "truth", "prediction", CONFIDENCE)
FEW = 30  # images; with fewer the report says how far the score can be trusted


def write_report(
    workdirs: Sequence[StrPath],
    output: StrPath,
    checkpoint: str = "latest",
    on_images: Callable[[str, int, int], None] = lambda name, done, total: None,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Writes a self-contained HTML page about one run, or about several runs side by side.

    Each run is scored on `test`, or on `val` where its dataset has no test split.

    Args:
      workdirs: of the runs.
      output: the file.
      checkpoint: `latest`, or `best` by mIoU on the validation split.
      on_images: called with the name of a run, the number of images scored and of all images.
      overrides: other values of fields of the configs, by dotted name, such as `data_dir`.

    Raises:
      InputError: if a workdir holds no run, the libraries of the extra `report` are missing, or the
        page would exceed `LIMIT`.
      OSError: naming the output, where it cannot be written.
    """
    check_installed()
    output = expanded(output)
    is_page = output.suffix in (".html", ".htm") and not output.is_dir()
    if not is_page or not output.parent.is_dir():  # before the scoring, which may take long
        raise InputError(
            f"output={str(output)!r}: expected a name that ends in .html, in a folder that exists"
        )
    summaries = []
    for workdir, name in zip(workdirs, _names(workdirs), strict=True):

        def count(done: int, total: int, name: str = name) -> None:
            on_images(name, done, total)

        summaries.append(summarize_run(expanded(workdir), name, checkpoint, count, overrides))
    page = render(summaries).encode("utf-8", errors="replace")
    if len(page) > LIMIT:
        raise InputError(
            f"workdir: {len(summaries)} runs give a page of {len(page) / 2**20:.1f} MiB; expected "
            f"at most {LIMIT // 2**20}; give fewer runs"
        )
    with replacing(output) as beside:
        beside.write_bytes(page)


def check_installed() -> None:
    """Checks that the libraries which draw and lay out the page are there.

    Raises:
      InputError: says how to install them.
    """
    for library in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(library) is None:
            raise InputError(f"report: {library} is not installed; pip install 'sassn_jax[report]'")


def render(summaries: Sequence[RunSummary]) -> str:
    """Returns the page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    several = len(summaries) > 1
    same_classes = len({summary.info.class_names for summary in summaries}) == 1
    return environment.from_string(text).render(
        runs=[_describe(number, summary) for number, summary in enumerate(summaries)],
        differing=_differing(summaries),
        highest=_marked([summary.matrix.miou() for summary in summaries]),
        comparison=compared_curves(summaries) if several else (),
        class_comparison=_compare_classes(summaries) if several and same_classes else None,
        version=importlib.metadata.version("sassn_jax"),
    )


def _names(workdirs: Sequence[StrPath]) -> list[str]:
    """Returns the names of the folders, or their whole paths where two have the same name."""
    paths = [expanded(workdir).resolve() for workdir in workdirs]
    if len(set(paths)) < len(paths):
        raise InputError(f"workdir: {_twice(paths)} is given twice; give each run once")
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    return [os.fsencode(name).decode("utf-8", errors="replace") for name in names]


def _twice(paths: Sequence[Path]) -> Path:
    return next(path for path in paths if paths.count(path) > 1)


def _describe(number: int, summary: RunSummary) -> dict[str, Any]:
    """Returns what the template shows of a run."""
    scored = summary.matrix.summary(summary.info.class_names)
    findings = judge(summary.rows)
    verdicts = [finding.verdict for finding in findings]
    return {
        "id": f"run-{number + 1}",
        "name": summary.name,
        "method": summary.fields["method"],
        "dataset": summary.info.name,
        "seed": summary.fields["seed"],
        "step": summary.step,
        "saved": summary.saved,
        "command": summary.command,
        "origin": summary.origin,
        "few": _warn_of_few(summary),
        "split": summary.split,
        "left_out": summary.left_out,
        "counts": summary.counts,
        "miou": _percent(scored["miou"]),
        "pixel_accuracy": _percent(scored["pixel_accuracy"]),
        "classes": _classes(summary),
        "ignored": _percent(summary.labeled.share(summary.labeled.ignored)),
        "findings": findings,
        "not_judged": not_judged(findings),
        "has_players": any(finding.metric == "loss/discriminator" for finding in findings),
        "verdict": (verdict := next((v for v in WORST_FIRST if v in verdicts), None)),
        "with_verdict": f"{verdicts.count(verdict)} of {len(verdicts)} signs" if verdict else "",
        "curves": run_curves(summary),
        "confusion": confusion(summary),
        "has_confidence": any(len(image.pictures) == len(CAPTIONS) for image in summary.best),
        "best": [_figure(image) for image in summary.best],
        "worst": [_figure(image) for image in summary.worst],
        "fields": sorted((name, str(value)) for name, value in summary.fields.items()),
    }


def _warn_of_few(summary: RunSummary) -> str:
    """Returns how far a score on few images can be trusted, in a sentence; empty for many."""
    mious = summary.image_mious
    if len(mious) >= FEW:
        return ""
    if len(mious) < 2:
        return "One image or none: its score says nothing of other images."
    points = math.ceil(200 * np.std(mious, ddof=1) / math.sqrt(len(mious)))
    return (
        f"{len(mious)} images are few: a difference of up to about {max(1, points)} points of mIoU "
        "between two runs means nothing. This is twice the standard error of the mean of the "
        "images' own mIoU."
    )


def _classes(summary: RunSummary) -> list[dict[str, str]]:
    in_split = summary.matrix.counts.sum(axis=1)
    all_pixels = max(1, in_split.sum() + summary.ignored)
    return [
        {
            "name": name,
            "color": "#{:02x}{:02x}{:02x}".format(*summary.info.palette[number].tolist()),
            "labeled": _percent(summary.labeled.share(summary.labeled.pixels[number])),
            "images": str(summary.labeled.images_with[number]),
            "scored": _percent(float(in_split[number] / all_pixels)),
            "iou": _percent(iou),
        }
        for number, (name, iou) in enumerate(
            zip(summary.info.class_names, summary.matrix.iou().tolist(), strict=True)
        )
    ]


def _percent(value: float | None) -> str:
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.1f}%"


def _figure(image: PicturedImage) -> dict[str, Any]:
    pictures = [
        (caption, _data_uri(picture, is_photo=caption not in ("truth", "prediction")))
        for caption, picture in zip(CAPTIONS, image.pictures, strict=False)
    ]
    return {"name": image.id, "miou": _percent(image.miou), "pictures": pictures}


def _data_uri(picture: UInt8[np.ndarray, "H W 3"], *, is_photo: bool) -> str:
    """Returns a small copy of a picture; the colours of a mask stay those of its classes."""
    image = Image.fromarray(picture)
    height = max(1, round(image.height * PICTURE_WIDTH / image.width))
    content = io.BytesIO()
    if is_photo:
        if image.width > PICTURE_WIDTH:
            image = image.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
        image.save(content, format="jpeg", quality=80)
    else:
        if image.width > PICTURE_WIDTH:
            image = image.resize((PICTURE_WIDTH, height), Image.Resampling.NEAREST)
        image.save(content, format="png", optimize=True)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _differing(summaries: Sequence[RunSummary]) -> list[tuple[str, list[str]]]:
    """Returns the fields of the configs that are not the same in all runs, with their values."""
    names = sorted({name for summary in summaries for name in summary.fields})
    values = {
        name: [str(summary.fields.get(name, MISSING)) for summary in summaries] for name in names
    }
    return [(name, row) for name, row in values.items() if len(set(row)) > 1]


def _compare_classes(summaries: Sequence[RunSummary]) -> dict[str, Any]:
    """Returns the chart and the table of the IoU of each class in each run."""
    names = summaries[0].info.class_names
    bars = {summary.name: summary.matrix.iou() for summary in summaries}
    alt = "IoU of each class by run; the table below has the same numbers."
    return {
        "chart": draw_bars(bars, names, "IoU of each class", alt),
        "rows": [
            (name, _marked(values)) for name, *values in zip(names, *bars.values(), strict=True)
        ],
    }


def _marked(values: Sequence[float]) -> list[tuple[str, bool]]:
    """Returns shares in percent, and whether each is the highest, as it is written, of several."""
    shown = [_percent(value) for value in values]
    known = [value for value in values if not math.isnan(value)]
    highest = _percent(max(known)) if known else MISSING
    differ = len(set(shown)) > 1
    return [(text, differ and text == highest) for text in shown]
