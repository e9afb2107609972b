"""What a training batch holds. Data, methods and training share this description."""

from collections.abc import Callable
from typing import Generic, NotRequired, TypedDict, TypeVar

T = TypeVar("T")  # an array of NumPy or JAX, or its shape and dtype


class Half(TypedDict, Generic[T]):
    """The labelled or the unlabelled images of a batch.

    Attributes:
      image: float32 `[B, H, W, 3]`, normalized.
      label: int32 `[B, H, W]`, class ids or the ignore label. Labels of unlabelled images are for
        diagnostics only.
      valid: bool `[B, H, W]`, False in pixels that fill up a crop larger than the image. Present
        if the transform has `mark_filled`.
    """

    image: T
    label: T
    valid: NotRequired[T]


class Batch(TypedDict, Generic[T]):
    """A training batch.

    Attributes:
      labeled: images with their masks.
      unlabeled: as many images, whose masks are not used. Absent in steps that use none.
    """

    labeled: Half[T]
    unlabeled: NotRequired[Half[T]]


def batch_spec(
    array: Callable[[tuple[int, ...], str], T],
    batch_size: int,
    crop_size: tuple[int, int],
    *,
    unlabeled: bool = False,
    valid: bool = False,
) -> Batch[T]:
    """Returns a batch whose arrays are made by `array(shape, dtype)`.

    `jax.ShapeDtypeStruct` makes the shapes and dtypes of a batch, `numpy.zeros` a batch of zeros.
    """

    def half() -> Half[T]:
        size = (batch_size, *crop_size)
        arrays: Half[T] = {"image": array((*size, 3), "float32"), "label": array(size, "int32")}
        if valid:
            arrays["valid"] = array(size, "bool")
        return arrays

    return {"labeled": half(), "unlabeled": half()} if unlabeled else {"labeled": half()}
