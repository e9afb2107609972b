"""Writes a run's network to one file: sassn export --workdir=DIR --output=FILE.safetensors.

In a checkout, `python -m experiments.export` is the same command.

--format=safetensors (FILE.safetensors) holds the network's arrays, its config and the names of its
classes. `sassn evaluate` and `sassn predict` take the file, and training can start from it
(model.weights).

--format=stablehlo (FILE.stablehlo) is a program for JAX alone, on CPUs, CUDA and TPUs: photos in,
class ids and probabilities out. --format=onnx (FILE.onnx) is the same for ONNX Runtime and others,
for photos of one size (--size). FILE.json beside them has the classes and their colours. A program
is compared with the run before it gets its name.

    sassn export --workdir=runs/mine --format=stablehlo --output=model.stablehlo
    sassn export --workdir=runs/mine --format=onnx --size=480,640 --output=model.onnx
"""

from absl import flags

from sassn_jax.commands import command
from sassn_jax.errors import InputError


def run() -> None:
    """Runs the command."""
    workdir = command.define_path("workdir", None, "Folder of the run.", required=True)
    output = command.define_path("output", None, "File to write.", required=True)
    checkpoint = command.define_checkpoint()
    format_ = flags.DEFINE_string("format", "safetensors", "safetensors, stablehlo or onnx.")
    size = flags.DEFINE_list(
        "size",
        None,
        "Height,width of all images. onnx needs it; a stablehlo program takes any size without it.",
    )
    command.run(
        lambda: _export(
            command.required(workdir),
            command.required(output),
            checkpoint.value,
            format_.value,
            size.value,
        )
    )


def _export(
    workdir: str, output: str, checkpoint: str, format_: str, size: list[str] | None
) -> None:
    from sassn_jax.prediction.export import export_run  # after the flags: JAX takes seconds

    sides = None
    if size is not None:
        if len(size) != 2 or not all(x.isdecimal() and int(x) > 0 for x in size):
            raise InputError(f"--size={','.join(size)}: expected height,width such as 480,640")
        sides = int(size[0]), int(size[1])
    about = export_run(workdir, output, checkpoint, format_, sides)
    classes = about["num_classes"] if format_ == "safetensors" else len(about["names"])
    print(f"{output}: step {about['step']}, {classes} classes")
    if "largest_error" in about:
        print(
            f"compared with the run: probabilities differ by at most {about['largest_error']:.1e}, "
            f"classes in {about['differing']} of {about['pixels']:,} pixels"
        )
    if about.get("left_out"):
        fields = ", ".join(f"{name}={value}" for name, value in about["left_out"].items())
        print(
            f"note: the program leaves out {fields}, with which the run is scored, so its results"
        )
        print("differ from those of sassn evaluate and sassn predict")
        if "eval.window" in about["left_out"]:
            print("with --size=height,width, programs predict by windows as the run does")
