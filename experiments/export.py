"""Writes a run's network to one file: python -m experiments.export --workdir=DIR --output=FILE.

The file (.safetensors) holds the segmentation network, its config and the classes' names. It can
stand for the folder in experiments.evaluate, and model.weights takes it for training to start from.
"""

from absl import flags

from experiments import command

_WORKDIR = command.define_path("workdir", None, "Folder of the run.", required=True)
_OUTPUT = command.define_path("output", None, "File to write, .safetensors.", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "One of latest, best (by mIoU on val).")


def main() -> None:
    """Calls `export_run` and says what it wrote."""
    from sassn_jax.training.evaluate_run import export_run  # after the flags: JAX takes seconds

    about = export_run(_WORKDIR.value, _OUTPUT.value, _CHECKPOINT.value)
    print(f"{_OUTPUT.value}: step {about['step']}, {about['num_classes']} classes")


if __name__ == "__main__":
    command.run(main)
