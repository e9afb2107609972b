"""`python -m experiments.inspect`: the same as `sassn inspect`, from a checkout."""

from sassn_jax.commands import inspect

if __name__ == "__main__":
    inspect.run()
