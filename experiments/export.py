"""`python -m experiments.export`: the same as `sassn export`, from a checkout."""

from sassn_jax.commands import export

if __name__ == "__main__":
    export.run()
