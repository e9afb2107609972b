"""The shapes of LabelMe, drawn as LabelMe itself draws them."""

import base64
import io
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

# The kinds of LabelMe's shapes, and how many points each may have.
_POINTS = {
    "polygon": range(3, sys.maxsize),
    "rectangle": range(2, 3),
    "oriented_rectangle": range(4, 5),
    "circle": range(2, 3),
    "line": range(2, 3),
    "linestrip": range(2, sys.maxsize),
    "point": range(1, 2),
    "mask": range(2, 3),
}
_LINE_WIDTH, _POINT_RADIUS = 10, 5  # pixels: the defaults of `labelme.utils.shape_to_mask`


def draw_shape(canvas: Image.Image, shape: Mapping[str, Any], class_id: int) -> None:
    """Draws a shape as `labelme.utils.shapes_to_label` does; raises ValueError if it cannot."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not np.isfinite(points).all():
        raise ValueError("a point is not finite")
    kind = shape.get("shape_type") or "polygon"
    if kind not in _POINTS:
        raise ValueError(f"a shape of the kind {kind!r}; expected one of {', '.join(_POINTS)}")
    if not _POINTS[kind].start <= len(points) < _POINTS[kind].stop:
        raise ValueError(f"a {kind} of {len(points)} points")
    draw = ImageDraw.Draw(canvas)
    fill: dict[str, Any] = {"fill": class_id, "outline": class_id}
    if kind in ("polygon", "oriented_rectangle"):
        draw.polygon(points, **fill)
    elif kind == "rectangle":
        (left, right), (top, bottom) = (sorted(ends) for ends in zip(*points, strict=True))
        draw.rectangle((left, top, right, bottom), **fill)
    elif kind == "circle":
        _draw_circle(draw, points[0], math.dist(*points), fill)
    elif kind == "point":
        _draw_circle(draw, points[0], _POINT_RADIUS, fill)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=class_id, width=_LINE_WIDTH)
    else:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=["PNG"]) as stencil:
            inside = Image.fromarray(np.asarray(stencil) > 0)
        canvas.paste(class_id, (int(points[0][0]), int(points[0][1])), inside)


def _draw_circle(
    draw: ImageDraw.ImageDraw, center: tuple[float, float], radius: float, fill: dict[str, Any]
) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), **fill)
