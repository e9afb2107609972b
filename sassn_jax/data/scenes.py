"""Scenes: generated pictures in which only the rest of the scene tells two classes apart.

Two textured grounds, plain shapes, and bars that cover things. A checkered gate is `gate_open` or
`gate_closed`, and the two look the same: their own pixels tell nothing. What tells is the scene's
one signal, somewhere at random and at least `CUE_DISTANCE` pixels from every gate: where it is red
the gates are closed, where it is blue they are open. No other thing has so strong a colour, and
nothing ever covers a signal, so who sees all of a scene can solve it without error.

A small network with all labels reaches an IoU of 0.75 on the gates with position attention and 0.70
without (`configs/demo.py:method=supervised,labels=1`, 500 steps, one seed).
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from sassn_jax.data.dataset import Dataset, DatasetInfo, Example

SIZE = 96
SPLIT_SIZES = {"train": 512, "val": 128, "test": 256}
CLASS_NAMES = (
    "meadow",
    "wall",
    "disc",
    "triangle",
    "bar",
    "signal",
    "gate_open",
    "gate_closed",
)
LOOK_ALIKE = ("gate_open", "gate_closed")
CUE_DISTANCE = 40.0  # pixels between the centre of the signal and the nearest pixel of a gate

PALETTE = np.array(
    [
        (120, 160, 80),
        (150, 120, 100),
        (240, 200, 60),
        (60, 170, 160),
        (90, 90, 90),
        (250, 250, 250),
        (40, 90, 220),
        (220, 50, 40),
    ],
    np.uint8,
)

# The signal by the class that it gives to the gates. Saturated, as no other thing in a scene is.
_SIGNAL_COLOR = {"gate_open": np.array([30, 60, 250]), "gate_closed": np.array([250, 40, 30])}
_RIM_COLOR = np.array([245, 245, 245])
_BAR_COLOR = np.array([20, 20, 20])
_SIGNAL_RADIUS = 6.5
_GATE_RADII = (8.0, 11.0)  # half the side of a gate

_Y, _X = np.mgrid[:SIZE, :SIZE].astype(np.float32)


@dataclass(frozen=True)
class ScenesSource:
    """One split of the scenes."""

    split: str

    @property
    def ids(self) -> tuple[str, ...]:
        """`train_0000`, `train_0001`, ..."""
        return tuple(f"{self.split}_{i:04}" for i in range(len(self)))

    def __len__(self) -> int:
        return SPLIT_SIZES[self.split]

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: the split {self.split!r} has {len(self)} scenes")
        image, label = _cached(self.split, index)
        return {"image": image, "label": label, "id": f"{self.split}_{index:04}"}


def load(data_dir: str | Path | None = None) -> Dataset:
    """The dataset. It has no files: `data_dir` is not used."""
    del data_dir
    info = DatasetInfo("scenes", CLASS_NAMES, PALETTE)
    return Dataset(info, {split: ScenesSource(split) for split in SPLIT_SIZES})


# A split fits in memory (36 KiB a scene), and every epoch asks for each scene again.
@functools.lru_cache(maxsize=1024)
def _cached(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    image, label = render(split, index, LOOK_ALIKE[index % 2])
    image.flags.writeable = label.flags.writeable = False
    return image, label


def render(
    split: str, index: int, gates: str
) -> tuple[UInt8[np.ndarray, "96 96 3"], UInt8[np.ndarray, "96 96"]]:
    """Draws a scene.

    Args:
      split: with `index`, says everything about the scene but what its gates are.
      index: of the scene in its split.
      gates: the class of the gates, one of `LOOK_ALIKE`. It decides the colour of the signal and
        no other pixel.

    Returns:
      The image, RGB, 0-255, and its mask of class ids; no pixel is ignored.
    """
    rng = np.random.Generator(np.random.PCG64([list(SPLIT_SIZES).index(split), index]))
    canvas = _Canvas(rng)
    signal, centers = _place(rng)

    canvas.paint("meadow", np.ones((SIZE, SIZE), bool), _mottled(rng, _muted(rng, 70.0, 120.0)))
    canvas.paint("wall", _half_plane(rng), _striped(rng, _muted(rng, 70.0, 120.0)))
    for name in rng.permutation(["disc", "triangle"] * 3):
        center, radius = rng.uniform(0, SIZE, 2), rng.uniform(7, 13)
        if name == "disc":
            canvas.paint("disc", _disc(center, radius), _mottled(rng, _muted(rng, 170.0, 185.0)))
        else:
            shape = _triangle(rng, center, 1.4 * radius)
            canvas.paint("triangle", shape, _mottled(rng, _muted(rng, 10.0, 40.0)))
    for center, radius in centers:
        canvas.paint(gates, _square(center, radius), _checkered(rng))
    for _ in range(2):
        canvas.paint("bar", _bar(rng), _BAR_COLOR)
    canvas.paint("signal", _disc(signal, _SIGNAL_RADIUS), _RIM_COLOR)
    canvas.paint("signal", _disc(signal, _SIGNAL_RADIUS - 1.5), _SIGNAL_COLOR[gates])
    return canvas.finish()


class _Canvas:
    """An image and its mask, painted over from back to front."""

    def __init__(self, rng: np.random.Generator):
        self._image = np.zeros((SIZE, SIZE, 3), np.float32)
        self._label = np.zeros((SIZE, SIZE), np.uint8)
        self._noise = rng.normal(0, 8, (SIZE, SIZE, 1)).astype(np.float32)

    def paint(self, name: str, where: np.ndarray, color: np.ndarray) -> None:
        np.copyto(self._image, color, where=where[..., None])
        self._label[where] = CLASS_NAMES.index(name)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        return np.clip(self._image + self._noise, 0, 255).astype(np.uint8), self._label


def _place(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[np.ndarray, float]]]:
    """Centres (y, x) of the signal and of the gates, far from each other; the gates' radii."""
    margin = _SIGNAL_RADIUS + 1
    signal = rng.uniform(margin, SIZE - margin, 2)
    gates: list[tuple[np.ndarray, float]] = []
    count = rng.integers(2, 4)
    for _ in range(100):
        radius = rng.uniform(*_GATE_RADII)
        center = rng.uniform(radius, SIZE - radius, 2)
        nearest = np.maximum(np.abs(center - signal) - radius, 0)
        clear = all(np.abs(center - c).max() > radius + r for c, r in gates)
        if np.hypot(*nearest) >= CUE_DISTANCE and clear:
            gates.append((center, radius))
        if len(gates) == count:
            break
    # A signal in the very middle leaves a gate little room: then another scene.
    return (signal, gates) if gates else _place(rng)


def _muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A colour that is no signal's: its channels differ by 60 at most."""
    return (rng.uniform(low, high) + rng.uniform(0, 60, 3)).astype(np.float32)


def _mottled(rng: np.random.Generator, color: np.ndarray) -> Float32[np.ndarray, "96 96 3"]:
    """Soft spots of 8 pixels around a colour."""
    spots = rng.normal(0, 14, (SIZE // 8, SIZE // 8, 1)).astype(np.float32)
    return color + spots.repeat(8, 0).repeat(8, 1)


def _striped(rng: np.random.Generator, color: np.ndarray) -> Float32[np.ndarray, "96 96 3"]:
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 9)
    wave = np.sin((np.cos(angle) * _Y + np.sin(angle) * _X) * (2 * np.pi / period))
    return color + 28 * wave[..., None].astype(np.float32)


def _checkered(rng: np.random.Generator) -> Float32[np.ndarray, "96 96 3"]:
    """Dark and bright squares of 4 pixels: the same in every scene but for where they begin."""
    shift = rng.integers(0, 8, 2)
    odd = ((_Y + shift[0]) // 4 + (_X + shift[1]) // 4) % 2
    return (70 + 130 * odd)[..., None].repeat(3, -1).astype(np.float32)


def _half_plane(rng: np.random.Generator) -> Bool[np.ndarray, "96 96"]:
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-SIZE / 4, SIZE / 4)
    return np.cos(angle) * (_Y - SIZE / 2) + np.sin(angle) * (_X - SIZE / 2) > offset


def _disc(center: np.ndarray, radius: float) -> Bool[np.ndarray, "96 96"]:
    return (_Y - center[0]) ** 2 + (_X - center[1]) ** 2 < radius**2


def _square(center: np.ndarray, radius: float) -> Bool[np.ndarray, "96 96"]:
    return np.maximum(np.abs(_Y - center[0]), np.abs(_X - center[1])) < radius


def _triangle(
    rng: np.random.Generator, center: np.ndarray, radius: float
) -> Bool[np.ndarray, "96 96"]:
    inside = np.ones((SIZE, SIZE), bool)
    start = rng.uniform(0, 2 * np.pi)
    for angle in start + np.arange(3) * (2 * np.pi / 3):
        inside &= np.cos(angle) * (_Y - center[0]) + np.sin(angle) * (_X - center[1]) < radius / 2
    return inside


def _bar(rng: np.random.Generator) -> Bool[np.ndarray, "96 96"]:
    """A strip of 4 to 6 pixels across the whole scene."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-SIZE / 3, SIZE / 3)
    across = np.cos(angle) * (_Y - SIZE / 2) + np.sin(angle) * (_X - SIZE / 2) - offset
    return np.abs(across) < rng.uniform(2, 3)
