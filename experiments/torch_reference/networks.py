"""DeepLabv2 with position attention, and the discriminator, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)
from torch import Tensor, nn


class Norm(nn.BatchNorm2d):
    """Batch norm; the mode says which statistics it uses and whether scale and shift learn."""

    def __init__(self, features: int, mode: str) -> None:
        super().__init__(features)
        self.mode = mode
        self.requires_grad_(mode == "batch")

    def train(self, mode: bool = True) -> Norm:
        """As in torch, except that `frozen` always uses the running statistics."""
        return super().train(mode and self.mode != "frozen")


class Bottleneck(nn.Module):
    """Convolutions of 1x1, dilated 3x3 and 1x1, beside the identity or a projection."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        dilation: int,
        project: bool,
        norm: str,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__()
        stride1, stride2 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, stride1, bias=False)
        self.bn1 = Norm(width, norm)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride2, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = Norm(width, norm)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = Norm(4 * width, norm)
        self.project = project
        if project:
            self.downsample_conv = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample_bn = Norm(4 * width, norm)

    def forward(self, x: Tensor) -> Tensor:
        """The features after the last ReLU."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (self.downsample_bn(self.downsample_conv(x)) if self.project else x))


class Backbone(nn.Module):
    """Dilated bottleneck ResNet, output stride 8."""

    def __init__(
        self,
        stage_sizes: Sequence[int],
        stem_width: int,
        widths: Sequence[int],
        norm: str,
        layout: str,
    ) -> None:
        super().__init__()
        self.ceil_mode = layout == "caffe"
        self.stage_sizes = tuple(stage_sizes)
        self.conv1 = nn.Conv2d(3, stem_width, 7, 2, padding=3, bias=False)
        self.bn1 = Norm(stem_width, norm)
        inputs = stem_width
        # In DeepLab the first block of a stage dilates like the others, in torchvision less.
        firsts = (1, 1, 2, 4) if layout == "caffe" else (1, 1, 1, 2)
        for stage, (size, width, stride, dilation, first) in enumerate(
            zip(stage_sizes, widths, (1, 2, 1, 1), (1, 1, 2, 4), firsts, strict=True), start=1
        ):
            for i in range(size):
                own = (stride, first, True) if i == 0 else (1, dilation, False)
                block = Bottleneck(inputs, width, *own, norm, stride_in_1x1=layout == "caffe")
                self.add_module(f"layer{stage}_{i}", block)
                inputs = 4 * width

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Applies stage 1, 2, 3 or 4."""
        for i in range(self.stage_sizes[number - 1]):
            x = self.get_submodule(f"layer{number}_{i}")(x)
        return x

    def stem_to_stage3(self, images: Tensor) -> Tensor:
        """Features of stage 3, [B, C, H/8, W/8]."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=self.ceil_mode)
        return self.stage(3, self.stage(2, self.stage(1, x)))


class PositionAttention(nn.Module):
    """`alpha * sum_i softmax_i(Q_j . K_i) V_i + x_j`, no 1/sqrt(d) (DANet, section 3.2)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(features, features // reduction, 1)
        self.key = nn.Conv2d(features, features // reduction, 1)
        self.value = nn.Conv2d(features, features, 1)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        query, key, value = (f(x).flatten(2) for f in (self.query, self.key, self.value))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # [B, queries, keys]
        return self.alpha * (value @ attention.transpose(1, 2)).view_as(x) + x


class Head(nn.Module):
    """DeepLabv2's head: the sum of dilated 3x3 classifiers."""

    def __init__(self, features: int, num_classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        for i, rate in enumerate(rates):
            conv = nn.Conv2d(features, num_classes, 3, padding=rate, dilation=rate)
            nn.init.normal_(conv.weight, std=0.01)
            self.add_module(f"conv{i}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the size of the features."""
        return torch.stack([conv(x) for conv in self.children()]).sum(0)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear with aligned corners."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class Generator(nn.Module):
    """DeepLabv2 with position attention after stage 3 and after stage 4."""

    def __init__(
        self,
        num_classes: int,
        *,
        stage_sizes: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        stem_width: int = 64,
        rates: Sequence[int] = (6, 12, 18, 24),
        attention: Sequence[str] = ("layer3", "layer4"),
        qk_reduction: int = 8,
        norm: str = "batch_frozen_affine",
        layout: str = "caffe",
    ) -> None:
        super().__init__()
        self.backbone = Backbone(stage_sizes, stem_width, widths, norm, layout)
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.attention3, self.attention4 = (
            PositionAttention(4 * width, qk_reduction) if name in attention else nn.Identity()
            for name, width in (("layer3", widths[2]), ("layer4", widths[3]))
        )
        self.head = Head(4 * widths[3], num_classes, rates)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes, H, W] at the size of the images [B, 3, H, W]."""
        x = self.attention3(self.backbone.stem_to_stage3(images))
        x = self.attention4(self.backbone.stage(4, x))
        return resize(self.head(x), images.shape[2:])


class Discriminator(nn.Module):
    """Five 4x4 convolutions of stride 2: is a pixel ground truth?"""

    def __init__(
        self,
        num_classes: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        channels = (num_classes, *widths, 1)
        for i in range(len(channels) - 1):
            conv = nn.Conv2d(channels[i], channels[i + 1], 4, 2, padding=1)
            if spectral_norm:
                conv = torch.nn.utils.spectral_norm(conv)
            self.add_module(f"conv{i + 1}", conv)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits [B, 1, H/32, W/32] for probabilities or one-hot labels [B, classes, H, W]."""
        *hidden, last = self.children()
        for conv in hidden:
            maps = F.leaky_relu(conv(maps), 0.2)
        return last(maps)
