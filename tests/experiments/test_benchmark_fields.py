"""What the side of PyTorch is told of the losses; its file is read, for PyTorch may be absent."""

import ast
import dataclasses
from pathlib import Path

from experiments.benchmarks import step
from sassn_jax.methods.adversarial import LossWeights


def test_every_other_weight_of_the_losses_is_one_of_its_side():
    tree = ast.parse((Path(step.__file__).parents[1] / "torch_reference/step.py").read_text())
    (settings,) = (node for node in tree.body if getattr(node, "name", "") == "Settings")
    known = {field.target.id for field in settings.body if isinstance(field, ast.AnnAssign)}
    fields = {field.name for field in dataclasses.fields(LossWeights)}
    assert fields - known == set(step.NOT_COMPARED)
