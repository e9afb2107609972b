"""`python -m experiments.train`: the same as `sassn train`, from a checkout."""

from sassn_jax.commands import train

if __name__ == "__main__":
    train.run()
