"""Semantic segmentation from few labels: self-attention, spectral norm, adversarial training."""
