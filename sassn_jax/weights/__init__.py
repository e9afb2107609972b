"""Reading files of weights into our parameter trees, and writing our own."""

from sassn_jax.weights.fused import whiten
from sassn_jax.weights.pretrained import Pretrained
from sassn_jax.weights.resnet import load_backbone

__all__ = ["Pretrained", "load_backbone", "whiten"]
