"""The networks and the training step in PyTorch, written independently of the JAX ones.

The parity tests compare our gradients with torch's, and `experiments.benchmark` compares the times
of both. Nothing else imports this package, so nothing else needs torch. Arrays are NCHW.
"""

from experiments.torch_reference.networks import Discriminator, Generator
from experiments.torch_reference.step import (
    Players,
    Settings,
    make_players,
    set_learning_rates,
    train_step,
)
from experiments.torch_reference.trees import from_torch, to_torch

__all__ = [
    "Discriminator",
    "Generator",
    "Players",
    "Settings",
    "from_torch",
    "make_players",
    "set_learning_rates",
    "to_torch",
    "train_step",
]
