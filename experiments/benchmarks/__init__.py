"""What `experiments.benchmark` measures: one module for each of its verbs."""
