"""The shapes of LabelMe, drawn as LabelMe itself draws them."""

import base64
import io
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from sassn_jax.data.images import opened
from sassn_jax.errors import InputError

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
_FARTHEST = 1e6  # pixels
_LONGEST = 4e6  # pixels: pycocotools takes some 100 bytes for each
_LINE_WIDTH, _POINT_RADIUS = 10, 5  # pixels: the defaults of `labelme.utils.shape_to_mask`


def check_points(points: Float[np.ndarray, "N 2"]) -> None:
    """Checks that a shape can be drawn in little time and memory, both of which grow with it.

    Raises:
      ValueError: if a coordinate is not finite or far outside of any image, or if the lines between
        the points are very long.
    """
    if not np.isfinite(points).all():
        raise ValueError("a point is not finite")
    if points.size and (far := np.abs(points).max()) > _FARTHEST:
        raise ValueError(f"a point has the coordinate {far:g}, far outside of the image")
    if (length := np.abs(np.diff(points, axis=0)).max(1, initial=0).sum()) > _LONGEST:
        raise ValueError(f"its outline is {length:g} pixels long; expected at most {_LONGEST:g}")


def draw_shape(canvas: Image.Image, shape: Mapping[str, Any], class_id: int) -> None:
    """Draws a shape as `labelme.utils.shapes_to_label` does; raises ValueError if it cannot."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    check_points(np.array(points, np.float64).reshape(-1, 2))
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
        content = io.BytesIO(base64.b64decode(shape["mask"]))
        try:
            with opened(content, ("PNG",), canvas.width * canvas.height) as stencil:
                inside = Image.fromarray(np.asarray(stencil) > 0)
        except InputError:
            raise ValueError("a mask of more pixels than the image") from None
        canvas.paste(class_id, (int(points[0][0]), int(points[0][1])), inside)


def _draw_circle(
    draw: ImageDraw.ImageDraw, center: tuple[float, float], radius: float, fill: dict[str, Any]
) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), **fill)
