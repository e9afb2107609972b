"""What a method teaches from unlabelled images, and what it could: `experiments.diagnose`."""
