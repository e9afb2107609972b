"""What all tests run under: two CPU devices, and shapes and types checked at every call."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

# In the environment, before jax is imported, so that commands run by a test find the same cache.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import pytest
from jaxtyping import install_import_hook

from tests.compiling import few_optimizations

# In the tests alone: a user pays nothing for these checks. An int is a float, as for type checkers.
install_import_hook(
    ["sassn_jax", "pallas_kernels"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


# Tests, by how their name begins, that hardly a line of the package depends on for its coverage.
UNMEASURED = (
    "tests/data/test_camvid.py::test_the_real_camvid",
    "tests/experiments/",
    "tests/methods/test_adversarial.py",
    "tests/methods/test_filled_pixels.py",
    "tests/methods/test_supervised.py",
    "tests/models/test_classifier.py",
    "tests/models/test_generator.py",
    "tests/models/test_image_discriminator.py",
    "tests/models/test_resnet.py",
    "tests/models/test_spectral_norm.py",
    "tests/pallas_kernels/",
    "tests/parity/",
    "tests/prediction/test_export.py::test_a_program_gives_what_the_network_gives",
    "tests/test_api.py::test_the_method_of_the_page",
    "tests/test_api.py::test_what_the_docstrings_show",
    "tests/test_configs.py",
    "tests/test_evaluation.py::test_images_of_many_sizes_take_bounded_memory",
    "tests/training/test_checkpoint.py::test_a_stopped_run_goes_on_to_the_same_bits",
    "tests/training/test_exporting.py::test_it_predicts_what_is_scored",
    "tests/training/test_exporting.py::test_training_starts_from_the_parts_that_fit",
    "tests/training/test_loop.py::test_a_precision_that_cannot_be_known",
    "tests/training/test_loop.py::test_a_stopped_run_goes_on_to_the_same_bits",
    "tests/training/test_loop.py::test_another_seed_gives_another_result",
    "tests/training/test_loop.py::test_one_seed_gives_one_result",
    "tests/training/test_loop.py::test_the_mean_says_of_how_many_classes_it_is",
    "tests/training/test_own_data.py::test_a_plain_folder_reaches_the_score",
    "tests/training/test_parallel.py::test_two_devices",
    "tests/training/test_pretrained_runs.py",
    "tests/training/test_skips.py::test_a_run_goes_on_after_skipped_updates",
    "tests/training/test_teacher.py",
    "tests/training/test_vgg.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves those out of the measurement, which makes the tracing of networks half as fast."""
    for item in items:
        if item.nodeid.startswith(UNMEASURED):
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Leaves out what several tests share, too, such as a run: a part of them do the same."""
    plugin = request.config.pluginmanager.get_plugin("_cov")  # of pytest-cov
    controller = getattr(plugin, "cov_controller", None)
    if fixturedef.scope == "function" or controller is None or not controller.started:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


def pytest_configure() -> None:
    """Hears Ctrl-C, which some tests press: a shell's `&` starts programs that ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def strict_dtypes():
    """No implicit change of dtype. Not for all tests: Optax's Adam relies on one."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def strict_ranks():
    """No broadcast over missing axes. Not for networks: NHWC times a vector of C is their idiom."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def fast_compile():
    """Compiles with few optimizations, where numbers do not matter."""
    with few_optimizations():
        yield
