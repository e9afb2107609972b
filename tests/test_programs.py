"""How many compiled programs are kept."""

import gc

import jax
import jax.numpy as jnp
import numpy as np

from sassn_jax import programs


def count_programs() -> int:
    gc.collect()
    return len(jax.devices()[0].client.live_executables())


def test_only_so_many_programs_are_kept(monkeypatch):
    monkeypatch.setattr(programs, "KEPT", 3)
    traced = []

    @programs.jit_by_shape
    def few(tree, *, scale):
        """Adds up."""
        traced.append(tree["x"].shape)
        return scale * jnp.sum(tree["x"])

    assert few.__doc__ == "Adds up."
    before = count_programs()
    for size in range(1, 9):
        assert float(few({"x": np.ones(size, np.float32)}, scale=2)) == 2 * size
    assert count_programs() - before == 3
    traced.clear()
    few({"x": np.ones(8, np.float32)}, scale=2)
    assert traced == []
    assert int(few({"x": np.ones(8, np.float32)}, scale=3)) == 24
    assert int(few({"x": np.ones(8, np.int32)}, scale=2)) == 16
    assert traced == [(8,), (8,)]


def test_memory_of_an_argument_can_be_given_away():
    add = programs.jit_by_shape(lambda x, y: x + y, donate_argnums=(0,))
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(add(x, jnp.ones(3)), [1, 2, 3])
    assert x.is_deleted()


def test_a_few_shapes_too_many_do_not_compile_everything_again(monkeypatch):
    """As the programs used longest ago would be where shapes come in the same order each time."""
    traced = []

    def total(x):
        traced.append(len(x))
        return jnp.sum(x)

    monkeypatch.setattr(programs, "KEPT", 6)
    few = programs.jit_by_shape(total)
    sizes = range(1, 9)
    for _ in range(6):
        for size in sizes:
            few(np.ones(size, np.float32))
    assert len(traced) < 0.8 * 6 * len(sizes)
