"""Commands: `python -m experiments.VERB`."""
