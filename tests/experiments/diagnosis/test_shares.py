import numpy as np
import pytest

from experiments.diagnosis import shares
from experiments.diagnosis.teaching import Targets

NAMES = ("sky", "road", "gate")


def make_pixels(seed):
    """Found classes, trust, the mask, and labels, in which a few are to be ignored."""
    rng = np.random.default_rng(seed)
    found, labels = rng.integers(0, 2 + seed, (2, 2, 6, 8))
    labels[0, 0, : 1 + 3 * seed] = 255
    trust = rng.uniform(size=found.shape).astype(np.float32)
    return found, trust, trust > 0.4, labels


def test_two_batches_are_counted_as_one():
    batches = [make_pixels(0), make_pixels(1)]
    logged = [shares.count(Targets(*pixels[:3]), pixels[3], 3) for pixels in batches]
    row = {name: float(np.mean([one[name] for one in logged])) for name in logged[0]}
    (read,) = shares.read([{"step": 1}, {"step": 2, **row}], NAMES)
    assert read["step"] == 2

    parts = zip(*batches, strict=True)
    found, trust, passes, labels = (np.concatenate(part).ravel() for part in parts)
    known = labels != 255
    found, trust, passes, labels = (x[known] for x in (found, trust, passes, labels))
    for i, name in enumerate(NAMES):
        is_found, is_true = found == i, labels == i
        expected = {
            "true": np.mean(is_true),
            "predicted": np.mean(is_found),
            "recall": np.mean(is_found[is_true]),
            "iou": np.sum(is_found & is_true) / np.sum(is_found | is_true),
            "teaches": np.mean(is_found & passes),
            "right": np.mean(is_true[is_found & passes]),
        }
        assert read["classes"][name] == pytest.approx(expected, rel=1e-5), name
    edges = (0, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 1)
    for one, begin, end in zip(read["trust"], edges, edges[1:], strict=False):
        inside = (trust >= begin) & (trust < end)
        assert one["from"] == begin
        assert one["share"] == pytest.approx(np.mean(inside), rel=1e-5)
        if inside.any():
            assert one["right"] == pytest.approx(np.mean((found == labels)[inside]), rel=1e-5)


def test_a_share_of_no_pixels_is_unknown():
    nothing = np.zeros((1, 2, 2), int)
    logged = shares.count(Targets(nothing, nothing + 1.0, nothing == 1), nothing, 3)
    (read,) = shares.read([{"step": 1, **{name: float(x) for name, x in logged.items()}}], NAMES)
    gate = {"true": 0, "predicted": 0, "recall": None, "iou": None, "teaches": 0, "right": None}
    assert read["classes"]["gate"] == gate
    assert read["classes"]["sky"]["recall"] == 1
    assert read["trust"][-1] == {"from": 0.99, "share": 1, "right": 1}  # a trust of exactly 1
    assert read["trust"][0]["right"] is None
