"""Writes a run's network to one file: sassn export --workdir=DIR --output=FILE.safetensors.

In a checkout, `python -m experiments.export` is the same command. The file holds the segmentation
network, its config and the names of its classes. `sassn evaluate` scores it, and training can start
from it (model.weights).
"""

from sassn_jax.commands import command


def run() -> None:
    """Runs the command."""
    workdir = command.define_path("workdir", None, "Folder of the run.", required=True)
    output = command.define_path("output", None, "File to write, .safetensors.", required=True)
    checkpoint = command.define_checkpoint()
    command.run(
        lambda: _export(command.required(workdir), command.required(output), checkpoint.value)
    )


def _export(workdir: str, output: str, checkpoint: str) -> None:
    from sassn_jax.prediction.run import export_run  # after the flags: JAX takes seconds

    about = export_run(workdir, output, checkpoint)
    print(f"{output}: step {about['step']}, {about['num_classes']} classes")
