"""Names are checked where a network is made, not where it first computes, or never."""

import pytest

from sassn_jax.errors import InputError
from sassn_jax.models.attention import PositionAttention
from sassn_jax.models.classifier import Classifier
from sassn_jax.models.generator import Generator
from sassn_jax.models.heads import DeepLabV2Head, DeepLabV3Head
from sassn_jax.models.layers import BatchNorm
from sassn_jax.models.networks import BACKBONES, create_network, heads_on, smallest_batch
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from sassn_jax.models.vgg_network import VGGNetwork

NORMS = "expected one of batch_frozen_affine, frozen, batch"
LAYOUTS = "expected one of caffe, torchvision"
RESNETS = "expected one of resnet101, resnet50, resnet50_thin, resnet_tiny"
RATES = "expected at least one dilation, each at least 1"
TINY = ARCHITECTURES["resnet_tiny"]
ON_VGG = {"backbone": "vgg16", "head": "fcn8s"}
ON_RESNET = {"backbone": "resnet_tiny", "head": "deeplabv2"}


@pytest.mark.parametrize(
    ("network", "arguments", "wrong", "expected"),
    [
        (Generator, (3,), {"attention": ("layer5",)}, r"expected a subset of \('layer3', 'layer4'"),
        (
            Generator,
            (3,),
            {"attention": ("layer4", "layer2")},
            r"expected a subset of \('layer3', 'layer4'\)",
        ),
        (Generator, (3,), {"backbone": "resnet18"}, RESNETS),
        (Generator, (3,), {"backbone": "vgg16"}, RESNETS),
        (Generator, (3,), {"head": "fcn8s"}, "expected one of deeplabv2, deeplabv3"),
        (Generator, (3,), {"norm": "group"}, NORMS),
        (Generator, (3,), {"layout": "keras"}, LAYOUTS),
        (Generator, (3,), {"aspp_rates": ()}, RATES),
        (Generator, (3,), {"aspp_rates": (6, 0)}, RATES),
        (
            Generator,
            (3,),
            {"attention_implementation": "cuda", "attention": ()},
            "expected one of triton, blockwise, reference, triton_interpret or None",
        ),
        (PositionAttention, (), {"implementation": "cuda"}, "expected one of triton, blockwise, "),
        (DeepLabV2Head, (3,), {"rates": ()}, RATES),
        (DeepLabV3Head, (3,), {"rates": (12, -24)}, RATES),
        (Classifier, (3,), {"backbone": "vgg16"}, RESNETS),
        (Classifier, (3,), {"norm": "group"}, NORMS),
        (Classifier, (3,), {"layout": "keras"}, LAYOUTS),
        (VGGNetwork, (3,), {"backbone": "resnet101"}, "expected one of vgg16, vgg_tiny"),
        (VGGNetwork, (3,), {"head": "dilation9"}, "expected one of fcn8s, dilation8, dilation10"),
        (ResNet, (TINY,), {"layout": "keras"}, LAYOUTS),
        (ResNet, (TINY,), {"norm": "group"}, NORMS),
        (BatchNorm, (), {"norm": "group"}, NORMS),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(network, arguments, wrong, expected):
    field, value = next(iter(wrong.items()))
    with pytest.raises(InputError, match=expected) as error:
        network(*arguments, **wrong)
    assert str(error.value).startswith(f"{field}={value!r}: expected ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backbone": "resnet18", "head": "deeplabv2"}, "backbone='resnet18': expected one of res"),
        (
            {"backbone": "vgg16", "head": "deeplabv2"},
            "head='deeplabv2': expected one of fcn8s, dilation8, dilation10 on backbone='vgg16'",
        ),
        (
            {"backbone": "resnet101", "head": "fcn8s"},
            "head='fcn8s': expected one of deeplabv2, deeplabv3 on backbone='resnet101'",
        ),
        ({**ON_RESNET, "atention": ()}, "option='atention': expected one of attention, aspp_rates"),
        ({**ON_VGG, "atention": ()}, "option='atention': expected one of attention, aspp_rates"),
        ({**ON_RESNET, "attention": ("layer5",)}, r"attention=\('layer5',\): expected a subset of"),
        (
            {**ON_VGG, "attention": ("layer3",)},
            r"attention=\('layer3',\): expected \(\) on backbone='vgg16'",
        ),
        (
            {**ON_VGG, "auxiliary_head": True},
            "auxiliary_head=True: expected False on backbone='vgg16'",
        ),
        *(
            ({**given, option: "x"}, f"{option}='x': expected one of ")
            for given in (ON_RESNET, ON_VGG)
            for option in ("norm", "layout", "attention_implementation")
        ),
    ],
)
def test_what_a_network_cannot_have_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        create_network(3, **given)


@pytest.mark.parametrize(
    ("backbone", "head"), [(name, head) for name in BACKBONES for head in heads_on(name)]
)
def test_every_network_takes_options_that_ask_for_nothing(backbone, head):
    """As a config gives them, whatever the network."""
    options = {
        "attention": (),
        "attention_implementation": "blockwise",
        "auxiliary_head": False,
        "norm": "batch",
        "layout": "caffe",
    }
    network = create_network(3, backbone=backbone, head=head, dtype="bfloat16", **options)
    assert (network.num_classes, network.dtype) == (3, "bfloat16")
    assert network.backbone == backbone
    assert smallest_batch(head) == (2 if head == "deeplabv3" else 1)
