"""CamVid, or any data set in the same plain layout."""

from pathlib import Path

from sassn_jax.data.dataset import Dataset


def load(data_dir: str | Path | None) -> Dataset:
    """Not there yet."""
    raise NotImplementedError
