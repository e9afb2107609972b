"""Positions and weights of samples, against fractions."""

from fractions import Fraction

import numpy as np
import pytest

from sassn_jax.resampling import interpolation_matrix, sample_points


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    ("size_in", "size_out"), [(1, 1), (1, 5), (7, 1), (9, 14), (60_000, 50_000), (46_341, 92_683)]
)
def test_the_position_of_no_sample_is_rounded_or_overflows(size_in, size_out, aligned):
    """The last two have products of sizes beyond 2^31."""
    points = sample_points(size_in, size_out, aligned=aligned)
    assert {len(x) for x in points} == {size_out}
    for i in {0, size_out // 3, size_out - 1}:
        if aligned:
            at = Fraction(i * (size_in - 1), max(1, size_out - 1))
        else:
            at = Fraction(2 * i + 1, 2) * Fraction(size_in, size_out) - Fraction(1, 2)
        at = min(max(at, Fraction(0)), Fraction(size_in - 1))
        first = int(at)
        assert [points.first[i], points.second[i]] == [first, first + 1]
        assert points.weight[i] == float(at - first)


@pytest.mark.parametrize(("size_in", "size_out"), [(1, 1), (1, 5), (5, 1), (41, 321), (65, 512)])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_weights_of_a_sample_sum_to_one(size_in, size_out, aligned):
    matrix = interpolation_matrix(sample_points(size_in, size_out, aligned=aligned), size_in)
    assert matrix.shape == (size_out, size_in)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-15)
    assert matrix.min() >= 0
