"""What position attention looks at: the weights of one pixel, as a map over the image."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, Integer

from sassn_jax.inference import Predict

Projections = dict[str, dict[str, Any]]  # `query` and `key`, `[B, h, w, D]`, of each attention


def with_projections(predict: Predict) -> Callable[[Any, Array], tuple[Array, Projections]]:
    """Makes a prediction return the queries and keys of the network's attentions as well.

    So the picture of an attention needs no second program of the network, which takes as long to
    compile as the first.

    Args:
      predict: takes variables and images, and applies networks of Flax.

    Returns:
      A function of the same arguments. It returns the prediction, and the queries and keys of each
      attention by its name, such as `attention3`.
    """

    def predict_and_keep(variables: Any, images: Array) -> tuple[Array, Projections]:
        kept: Projections = {}

        def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            result = call(*args, **kwargs)
            module = context.module
            if context.method_name == "__call__" and module.name in ("query", "key"):
                outer = "".join(module.path[-2:-1])
                if outer.startswith("attention"):
                    kept.setdefault(outer, {})[module.name] = result
            return result

        with nn.intercept_methods(keep):
            prediction = predict(variables, images)
        return prediction, kept

    return predict_and_keep


def attention_map(
    query: Float[np.ndarray, "h w D"], key: Float[np.ndarray, "h w D"], row: int, column: int
) -> Float[np.ndarray, "h w"]:
    """Returns the weights with which a position attends to all positions; they sum to 1."""
    scores = key.astype(np.float32) @ query[row, column].astype(np.float32)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def telling_pixel(label: Integer[np.ndarray, "H W"], ignore_label: int) -> tuple[int, int]:
    """Chooses the pixel whose attention is shown: one of the rarest class in the label.

    Returns:
      Row and column of the middle one of this class's pixels, in reading order; of the centre
      where no pixel has a class.
    """
    classes, counts = np.unique(label[label != ignore_label], return_counts=True)
    if not classes.size:
        return label.shape[0] // 2, label.shape[1] // 2
    places = np.argwhere(label == classes[counts.argmin()])
    row, column = places[len(places) // 2]
    return int(row), int(column)
