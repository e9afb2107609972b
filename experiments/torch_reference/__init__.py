"""The networks and the training step in PyTorch, written independently of the JAX ones.

The parity tests compare our gradients with torch's, and `experiments.benchmark` compares the times
of both. Nothing else imports this package, so nothing else needs torch. Arrays are NCHW.
"""

from experiments.torch_reference.networks import Discriminator as Discriminator
from experiments.torch_reference.networks import Generator as Generator
from experiments.torch_reference.step import Settings as Settings
from experiments.torch_reference.step import make_players as make_players
from experiments.torch_reference.step import set_learning_rates as set_learning_rates
from experiments.torch_reference.step import train_step as train_step
from experiments.torch_reference.trees import from_torch as from_torch
from experiments.torch_reference.trees import to_torch as to_torch
