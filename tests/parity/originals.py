"""AdvSemiSeg's and torchvision's networks in PyTorch, under the names of their state dicts.

Written from their descriptions, for small trunks as well as for those that were published.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)
from torch import nn


def conv_bn(inputs, features, size, dilation=1):
    padding = dilation * (size // 2)
    return [
        nn.Conv2d(inputs, features, size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU(),
    ]


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, strides, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, strides[1], padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(
            self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))
        )


class Trunk(nn.Module):
    """Both projects' ResNet: their arrays are the same, what is made of them is not."""

    def __init__(self, stem, width, blocks, caffe):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=caffe)
        inputs, dilation = stem, 1
        for stage, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 2), strict=True)):
            features, before = 4 * width * 2**stage, dilation
            if stage >= 2:  # dilates in place of striding
                stride, dilation = 1, 2 * dilation
            layers = []
            for i in range(count):
                strides = (stride if i == 0 else 1, 1)
                downsample = None
                if i == 0:
                    projection = nn.Conv2d(inputs, features, 1, stride, bias=False)
                    downsample = nn.Sequential(projection, nn.BatchNorm2d(features))
                layers.append(
                    Bottleneck(
                        inputs,
                        features // 4,
                        strides if caffe else strides[::-1],
                        before if i == 0 and not caffe else dilation,
                        downsample,
                    )
                )
                inputs = features
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def stages(self, images):
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        layer3 = self.layer3(self.layer2(self.layer1(x)))
        return layer3, self.layer4(layer3)


class SumOfClassifiers(nn.Module):
    """Has a classifier for each rate, and evaluates only the first few."""

    def __init__(self, inputs, classes, rates, evaluated):
        super().__init__()
        self.evaluated = evaluated
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(inputs, classes, 3, padding=rate, dilation=rate) for rate in rates
        )

    def forward(self, x):
        return sum(conv(x) for conv in self.conv2d_list[: self.evaluated])


class AdvSemiSegGenerator(Trunk):
    """DeepLabv2 with scale and shift of the norms fixed.

    Its head has four branches, of which AdvSemiSeg's code evaluates two: `return` stands in the
    loop over them. Where that has been mended it evaluates all four.
    """

    def __init__(self, stem, width, blocks, classes, evaluated=2):
        super().__init__(stem, width, blocks, caffe=True)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.layer5 = SumOfClassifiers(32 * width, classes, (6, 12, 18, 24), evaluated)

    def forward(self, images):
        logits = self.layer5(self.stages(images)[1])
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=True), None


class AdvSemiSegDiscriminator(nn.Module):
    def __init__(self, classes):
        super().__init__()
        widths = (classes, 64, 128, 256, 512)
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 4, 2, padding=1))
        self.classifier = nn.Conv2d(512, 1, 4, 2, padding=1)

    def forward(self, maps):
        x = maps
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.leaky_relu(conv(x), 0.2)
        return self.classifier(x)


class Pooling(nn.Sequential):
    def forward(self, x):
        size = x.shape[-2:]
        return F.interpolate(super().forward(x), size, mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    def __init__(self, inputs, rates, dropout):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*conv_bn(inputs, 256, 1)),
                *(nn.Sequential(*conv_bn(inputs, 256, 3, rate)) for rate in rates),
                Pooling(nn.AdaptiveAvgPool2d(1), *conv_bn(inputs, 256, 1)),
            ]
        )
        joined = 256 * len(self.convs)
        self.project = nn.Sequential(*conv_bn(joined, 256, 1), nn.Dropout(dropout))

    def forward(self, x):
        return self.project(torch.cat([conv(x) for conv in self.convs], dim=1))


class TorchvisionDeepLabV3(nn.Module):
    """torchvision's DeepLabv3 with its auxiliary head."""

    def __init__(self, stem, width, blocks, classes, dropout=0.0):
        super().__init__()
        self.backbone = Trunk(stem, width, blocks, caffe=False)
        aspp = ASPP(32 * width, (12, 24, 36), dropout)
        self.classifier = nn.Sequential(aspp, *conv_bn(256, 256, 3), nn.Conv2d(256, classes, 1))
        auxiliary = conv_bn(16 * width, 4 * width, 3)
        self.aux_classifier = nn.Sequential(
            *auxiliary, nn.Dropout(dropout), nn.Conv2d(4 * width, classes, 1)
        )

    def forward(self, images):
        layer3, layer4 = self.backbone.stages(images)
        return tuple(
            F.interpolate(x, images.shape[2:], mode="bilinear", align_corners=False)
            for x in (self.classifier(layer4), self.aux_classifier(layer3))
        )
