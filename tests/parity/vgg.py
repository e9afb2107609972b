"""FCN-8s and the Dilation networks in PyTorch, from their descriptions, on our trees of weights."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)


def conv(x, layer, **options):
    return F.conv2d(x, layer["kernel"].permute(3, 2, 0, 1), layer["bias"], **options)


def deconv(x, size, stride, padding=0):
    """A transposed convolution with the bilinear kernel that Caffe fills in."""
    factor = (size + 1) // 2
    center = factor - 0.5 if size % 2 == 0 else factor - 1
    taps = 1 - (torch.arange(size, dtype=x.dtype) - center).abs() / factor
    channels = x.shape[1]
    layer = torch.nn.ConvTranspose2d(channels, channels, size, stride, padding, bias=False)
    weight = torch.zeros(channels, channels, size, size, dtype=x.dtype)
    weight[range(channels), range(channels)] = taps[:, None] * taps
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    return layer(x)


def fcn8s(images, params):
    """Logits of images NCHW."""
    vgg, head = params["backbone"], params["head"]
    x, pools = images, []
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, count + 1):
            padding = 100 if stage == i == 1 else 1
            x = F.relu(conv(x, vgg[f"conv{stage}_{i}"], padding=padding))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pools.append(x)
    x = F.relu(conv(F.relu(conv(x, vgg["fc6"])), vgg["fc7"]))
    x = deconv(conv(x, head["score_fr"]), 4, 2)
    skip = conv(pools[3], head["score_pool4"])
    x = deconv(x + skip[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]], 4, 2)
    skip = conv(pools[2], head["score_pool3"])
    x = deconv(x + skip[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]], 16, 8)
    height, width = images.shape[2:]
    return x[:, :, 31 : 31 + height, 31 : 31 + width]


def dilation(images, params, dilations):
    """Logits of images NCHW whose context module dilates so."""
    vgg, head = params["backbone"], params["head"]
    height, width = images.shape[2:]
    border = [(0, 0), (0, 0), (186, 186 + -height % 8), (186, 186 + -width % 8)]
    x = torch.from_numpy(np.pad(images.numpy(), border, mode="reflect"))
    for stage, (count, rate) in enumerate(((2, 1), (2, 1), (3, 1), (3, 1), (3, 2)), start=1):
        for i in range(1, count + 1):
            x = F.relu(conv(x, vgg[f"conv{stage}_{i}"], dilation=rate))
        if stage <= 3:
            x = F.max_pool2d(x, 2, 2)
    x = F.relu(conv(F.relu(conv(x, vgg["fc6"], dilation=4)), vgg["fc7"]))
    x = conv(x, head["classifier"])
    for i, rate in enumerate(dilations, start=1):
        x = F.relu(conv(x, head[f"context{i}"], padding=rate, dilation=rate))
    return deconv(conv(x, head["context_final"]), 16, 8, padding=4)[:, :, :height, :width]
