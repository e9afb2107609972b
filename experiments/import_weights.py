"""`python -m experiments.import_weights`: the same as `sassn import_weights`, from a checkout."""

from sassn_jax.commands import import_weights

if __name__ == "__main__":
    import_weights.run()
