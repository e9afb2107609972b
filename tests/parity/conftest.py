"""Tests against PyTorch. They skip, and say so, where that large download is absent."""

import importlib

import jax
import pytest


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install 'sassn_jax[parity]' runs these tests"
    )
    module.manual_seed(0)
    return module


@pytest.fixture(scope="session")
def reference(torch):
    """`experiments.torch_reference`, the PyTorch counterpart of our networks and training step."""
    return importlib.import_module("experiments.torch_reference")


@pytest.fixture(scope="session")
def originals(torch):
    """The networks of AdvSemiSeg and torchvision."""
    return importlib.import_module("tests.parity.originals")


@pytest.fixture
def float64():
    """In float32, Adam makes a full step even of a gradient that is rounding alone."""
    with jax.enable_x64(True):
        yield
