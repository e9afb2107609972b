"""`python -m experiments.report`: the same as `sassn report`, from a checkout."""

from sassn_jax.commands import report

if __name__ == "__main__":
    report.run()
