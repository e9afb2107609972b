"""`python -m experiments.prepare`: the same as `sassn prepare`, from a checkout."""

from sassn_jax.commands import prepare

if __name__ == "__main__":
    prepare.run()
