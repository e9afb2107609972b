"""`python -m experiments.predict`: the same as `sassn predict`, from a checkout."""

from sassn_jax.commands import predict

if __name__ == "__main__":
    predict.run()
