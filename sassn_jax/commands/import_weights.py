"""Turns other people's weights into a file that training can start from (model.weights).

    sassn import_weights --source=FILE --architecture=NAME --output=FILE.safetensors

In a checkout, `python -m experiments.import_weights` is the same command.

The source is a .pth, .npz or .safetensors with the names of AdvSemiSeg or torchvision, or an .onnx
of a ResNet whose batch norm is fused into its convolutions. No code in it is run. Prefixes that
DataParallel, torch.compile and the like put before names are removed, and listed.

NAME is a trunk (resnet101, resnet50, resnet50_thin, vgg16), or deeplabv2_ or deeplabv3_ followed by
the name of a ResNet.
"""

from typing import Any

from absl import flags

from sassn_jax.commands import command


def run() -> None:
    """Runs the command."""
    source = command.define_path("source", None, "File to read.", required=True)
    architecture = flags.DEFINE_string("architecture", None, "Network in the file.", required=True)
    output = command.define_path("output", None, "File to write, .safetensors.", required=True)
    convention = flags.DEFINE_string(
        "convention",
        None,
        "How the network was built and which images it takes: advsemiseg (RGB, 0-255, minus VOC's "
        "mean), caffe (BGR, 0-255, minus 104, 117, 123) or torchvision (RGB, 0-1, minus ImageNet's "
        "mean, over its deviation). If not given, the usual one for the architecture.",
    )
    all_branches = flags.DEFINE_boolean(
        "all_branches",
        False,
        "Whether to take all four branches of a deeplabv2 head, for networks trained with them. "
        "AdvSemiSeg's code and its descendants evaluate only the first two.",
    )
    allow = flags.DEFINE_string(
        "allow",
        "",
        "Regular expression of whole names of arrays that may be left out, such as aux\\..*",
    )

    def main() -> None:
        from sassn_jax.conversion.importing import import_weights  # not before: JAX takes seconds

        imported = import_weights(
            source.value,
            architecture.value,
            output.value,
            convention=convention.value,
            all_branches=all_branches.value,
            allow=allow.value,
        )
        print(f"{output.value}: {architecture.value}, {imported.num_arrays} arrays")
        _print(imported)

    command.run(main)


def _print(imported: Any) -> None:
    """Prints which images the network takes, its head, and what was left out."""
    image = imported.about["image"]
    mean, std = (", ".join(f"{x:g}" for x in image[name]) for name in ("mean", "std"))
    print(f"images: {image['channel_order']}, 0-255, minus ({mean}), over ({std})")
    if head := imported.about["model"].get("head"):
        print(f"head: {head}, dilations {imported.about['model']['aspp_rates']}")
    for line in imported.wrappers:
        print(f"removed {line}")
    for line in imported.left_out:
        print(f"left out: {line}")
