"""The same networks and the same training step in PyTorch, written independently of the JAX ones.

Two users: the parity tests, which take torch's autograd as a second opinion on our gradients, and
`experiments.benchmark`, which times both. Nothing else imports this package, so that nothing else
needs torch. Arrays here are NCHW, as torch has them.
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
