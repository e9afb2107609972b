"""Position attention and its gradients in float64 NumPy, to compare implementations with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pallas_kernels.position_attention import position_attention

# The largest error of an output, relative to the largest value. Gradients may have twice that.
TOLERANCES = {
    ("blockwise", "float32"): 2e-6,
    ("reference", "float32"): 2e-6,
    ("triton_interpret", "float32"): 1e-5,
}
NARROW_TOLERANCES = {"bfloat16": 1e-2, "float16": 2e-3}


def arrays(batch, positions, qk_width, v_width, dtype=np.float32, spread=1.0):
    """q, k, v and a cotangent of the output. With spread 1, scores have a variance near 1."""
    rng = np.random.default_rng(positions)
    q, k = rng.normal(size=(2, batch, positions, qk_width)) * spread * qk_width**-0.25
    v, d_out = rng.normal(size=(2, batch, positions, v_width))
    return [jnp.asarray(x, dtype) for x in (q, k, v, d_out)]


def numpy_attention(q, k, v, d_out, scale=1.0):
    """The output and the gradients for q, k, v, in float64."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))

    def transposed(x):
        return x.swapaxes(1, 2)

    scores = scale * (q @ transposed(k))  # [B, queries, keys]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    d_weights = d_out @ transposed(v)
    d_scores = scale * weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
    return weights @ v, d_scores @ k, transposed(d_scores) @ q, transposed(weights) @ d_out


def and_gradients(attention, q, k, v, d_out):
    """The output of `attention` and the gradients for q, k, v."""
    out, vjp = jax.vjp(attention, q, k, v)
    return out, *vjp(d_out)


def with_gradients(q, k, v, d_out, **options):
    """The output of `position_attention` and the gradients, compiled for this call."""
    attention = functools.partial(position_attention, **options)
    return jax.jit(functools.partial(and_gradients, attention))(q, k, v, d_out)


def error(actual, expected):
    """Largest difference, relative to the largest expected value."""
    actual = np.asarray(actual, np.float64)
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)


def assert_matches(actual, inputs, name, scale=1.0):
    """Compares an implementation's output and gradients with the definition."""
    dtype = str(inputs[0].dtype)
    tolerance = NARROW_TOLERANCES.get(dtype) or TOLERANCES[name, dtype]
    expected = numpy_attention(*inputs, scale=scale)
    for i, what in enumerate(("out", "d_q", "d_k", "d_v")):
        assert actual[i].dtype == inputs[0].dtype
        if inputs[0].shape[1] == 1 and what in ("d_q", "d_k"):
            # The softmax of one score is constant, so these gradients are 0. What remains is the
            # rounding of a difference of two equal products, times a row of k or q.
            q, k, v, d_out = (np.asarray(x, np.float64) for x in inputs)
            product = np.abs((d_out * v).sum(-1)).max()
            bound = 2 * tolerance * scale * product * np.abs(k if what == "d_q" else q).max()
            np.testing.assert_allclose(np.asarray(actual[i], np.float64), 0, atol=bound)
        else:
            assert error(actual[i], expected[i]) < (1 if i == 0 else 2) * tolerance, what
