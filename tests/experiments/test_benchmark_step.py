"""What is not timed beside PyTorch, whose side is plain."""

import pytest

from configs import scenes
from experiments.benchmarks.step import torch_obstacle
from sassn_jax.recipes import parse

pytest.importorskip("torch", reason="needs PyTorch (make parity)")


def comparable(method="sassn"):
    config = scenes.get_config(f"method={method}")
    config.optimizer.name = "sgd"
    return config


@pytest.mark.parametrize("method", ["supervised", "sassn"])
def test_the_papers_methods_are_compared(method):
    assert torch_obstacle(parse(comparable(method)), has_unlabeled=method == "sassn") is None


def test_a_batch_without_unlabeled_images_is_not():
    assert "unlabelled" in torch_obstacle(parse(comparable()), has_unlabeled=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "unimatch"),
        ("model.head", "deeplabv3"),
        ("model.auxiliary_head", True),
        ("model.dtype", "bfloat16"),
        ("model.remat", True),
        ("accumulation", 2),
        ("optimizer.name", "adamw"),
        ("loss.adv_from_start", True),
        ("loss.exclude_filled", True),
        ("loss.semi_mixed", True),
        ("loss.semi_confidence", 0.9),
        ("augment.paste", 0.5),
    ],
)
def test_what_its_side_does_not_do(field, value):
    config = comparable()
    config.update_from_flattened_dict({field: value})
    assert "its side" in torch_obstacle(parse(config), has_unlabeled=True)
