"""Turns other people's weights into a file of ours, which model.weights takes.

    python -m experiments.import_weights --source=FILE --architecture=NAME --output=FILE.safetensors

FILE is a .pth, .npz or .safetensors with the names of AdvSemiSeg or torchvision, or an .onnx of a
ResNet whose batch norm is fused into its convolutions. No code in it is run. What DataParallel,
torch.compile and the like put into names is taken off them, and said. NAME is a trunk
(resnet101, resnet50, resnet50_thin, vgg16), or deeplabv2_ or deeplabv3_ and a ResNet.
"""

from absl import flags

from experiments import command

_SOURCE = command.define_path("source", None, "File to read.", required=True)
_ARCHITECTURE = flags.DEFINE_string("architecture", None, "Network it holds.", required=True)
_OUTPUT = command.define_path("output", None, "File to write, .safetensors.", required=True)
_CONVENTION = flags.DEFINE_string(
    "convention",
    None,
    "How the network was built and which images it takes: advsemiseg (RGB, 0-255, minus VOC's "
    "mean), caffe (BGR, 0-255, minus 104, 117, 123) or torchvision (RGB, 0-1, minus ImageNet's "
    "mean, over its deviation). The usual one for the architecture if not given.",
)
_ALL_BRANCHES = flags.DEFINE_boolean(
    "all_branches",
    False,
    "Of deeplabv2_...: take all four branches of the head, for networks that were trained with "
    "them. AdvSemiSeg's code and its descendants evaluate the first two alone.",
)
_ALLOW = flags.DEFINE_string(
    "allow",
    "",
    "Regular expression of whole names of arrays that may be left out, such as aux\\..*",
)


def main() -> None:
    """Calls `import_weights` and says what came of it."""
    from sassn_jax.conversion.importing import import_weights  # after the flags: JAX takes seconds

    imported = import_weights(
        _SOURCE.value,
        _ARCHITECTURE.value,
        _OUTPUT.value,
        convention=_CONVENTION.value,
        all_branches=_ALL_BRANCHES.value,
        allow=_ALLOW.value,
    )
    print(f"{_OUTPUT.value}: {_ARCHITECTURE.value}, {imported.num_arrays} arrays")
    image = imported.about["image"]
    mean, std = (", ".join(f"{x:g}" for x in image[name]) for name in ("mean", "std"))
    print(f"images: {image['channel_order']}, 0-255, minus ({mean}), over ({std})")
    if head := imported.about["model"].get("head"):
        print(f"head: {head}, dilations {imported.about['model']['aspp_rates']}")
    for line in imported.wrappers:
        print(f"removed {line}")
    for line in imported.left_out:
        print(f"left out: {line}")


if __name__ == "__main__":
    command.run(main)
