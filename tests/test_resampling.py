"""Positions and weights of samples, against fractions."""

from fractions import Fraction

import numpy as np
import pytest

from sassn_jax.resampling import sample_points


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("size_in", "size_out"), [(1, 1), (1, 5), (7, 1), (9, 14), (60_000, 50_000), (46_341, 92_683)]
)
def test_the_position_of_no_sample_is_rounded_or_overflows(size_in, size_out, mirror, aligned):
    """The last two have products of sizes beyond 2^31."""
    points = sample_points(size_in, size_out, size_out + 2, mirror=mirror, aligned=aligned)
    assert points.inside.tolist() == [True] * size_out + [False] * 2
    for i in {0, size_out // 3, size_out - 1}:
        if aligned:
            at = Fraction(i * (size_in - 1), max(1, size_out - 1))
        else:
            at = Fraction(2 * i + 1, 2) * Fraction(size_in, size_out) - Fraction(1, 2)
        at = min(max(at, Fraction(0)), Fraction(size_in - 1))
        first = int(at)
        pixels = [first, min(first + 1, size_in - 1)]
        if mirror:
            pixels = [size_in - 1 - pixel for pixel in pixels]
        assert [points.first[i], points.second[i]] == pixels
        assert points.weight[i] == np.float32(float(at - first))
