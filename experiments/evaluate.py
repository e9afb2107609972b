"""`python -m experiments.evaluate`: the same as `sassn evaluate`, from a checkout."""

from sassn_jax.commands import evaluate

if __name__ == "__main__":
    evaluate.run()
