"""Checksums of arrays do not depend on the devices, and change with any bit."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sassn_jax.training.checksums import checksums, one_checksum

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.uint8, np.int8, np.bool_)


def defined(array: np.ndarray) -> str:
    """The checksum by its definition, in Python's integers."""
    width = min(array.dtype.itemsize, 4)
    words = np.frombuffer(array.tobytes(), f"<u{width}")

    def mix(x: int) -> int:
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        return x ^ x >> 16

    mixed = [mix(int(word) ^ mix(place + 1)) for place, word in enumerate(words)]
    first = sum(mixed) % 2**32
    second = sum(x * (2 * place + 1) for place, x in enumerate(mixed)) % 2**32
    return f"{first:08x}{second:08x}"


def some(dtype: type, shape: tuple[int, ...] = (3, 4, 5)) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    if dtype is np.bool_:
        raw %= 2
    return raw.view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_definition(dtype):
    array = some(dtype)
    assert checksums({"a": {"b": jnp.asarray(array)}}) == {"a.b": defined(array)}


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_the_definition_for_numbers_of_8_bytes(dtype):
    with jax.enable_x64(True):
        assert checksums([jnp.asarray(some(dtype))]) == {"0": defined(some(dtype))}


def test_scalars_empty_arrays_and_keys():
    key = jax.random.key(7)
    found = checksums([jnp.int32(-1), jnp.zeros((0, 3)), key, jnp.float32("nan")])
    arrays = (np.int32(-1), np.zeros(0, np.float32), np.asarray(jax.random.key_data(key)))
    assert list(found.values()) == [*map(defined, arrays), defined(np.float32("nan"))]


def test_each_bit_counts():
    array = some(np.float32, (2, 3))
    seen = {defined(array)}
    for place in range(array.nbytes):
        for bit in range(8):
            changed = array.copy()
            changed.view(np.uint8).reshape(-1)[place] ^= 1 << bit
            seen.add(*checksums([jnp.asarray(changed)]).values())
    assert len(seen) == 8 * array.nbytes + 1


def test_order_and_the_signs_of_zeros_count():
    arrays = ([0.0, 1, 2], [-0.0, 1, 2], [0.0, 2, 1], [1.0, 2, 0], [0.0, 0, 0], [0.0, 0, 1])
    assert len({checksums([jnp.array(x)])["0"] for x in arrays}) == len(arrays)


def test_sharding_does_not_count():
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    array = some(np.float32, (3, 4 * devices, 5))
    for spec in (PartitionSpec(), PartitionSpec(None, "data")):
        placed = jax.device_put(array, NamedSharding(mesh, spec))
        assert checksums([placed]) == {"0": defined(array)}


def test_no_array_is_gathered():
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
    spec = jax.ShapeDtypeStruct((3, 4 * jax.device_count(), 5), jnp.float32, sharding=sharding)
    assert "all-gather" not in one_checksum.lower(spec).compile().as_text()
