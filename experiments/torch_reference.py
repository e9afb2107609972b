"""The same networks and the same training step in PyTorch, written independently of the JAX ones.

Two users: the parity tests, which take torch's autograd as a second opinion on our gradients, and
`experiments.benchmark`, which times both. Nothing else imports this file, so that nothing else
needs torch. Submodules carry the names of our parameter trees, hence `to_torch` and `from_torch`
are a walk along the tree. Arrays here are NCHW, as torch has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)
from torch import Tensor, nn

NormMode = Literal["batch_frozen_affine", "frozen", "batch"]
Tree = Mapping[str, Any]


class Norm(nn.BatchNorm2d):
    """Batch norm in a mode: which statistics it uses and whether scale and shift learn."""

    def __init__(self, features: int, mode: NormMode) -> None:
        super().__init__(features)
        self.mode = mode
        self.requires_grad_(mode == "batch")

    def train(self, mode: bool = True) -> Norm:
        """As usual, except that `frozen` always stays with the running statistics."""
        return super().train(mode and self.mode != "frozen")


class Bottleneck(nn.Module):
    """1x1, dilated 3x3, 1x1, and the identity or a projection beside them."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        dilation: int,
        project: bool,
        norm: NormMode,
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
        norm: NormMode,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__()
        self.stage_sizes = tuple(stage_sizes)
        self.conv1 = nn.Conv2d(3, stem_width, 7, 2, padding=3, bias=False)
        self.bn1 = Norm(stem_width, norm)
        inputs = stem_width
        # Stages 3 and 4 are dilated in every block, the first one included, as DeepLab's are.
        for stage, (size, width, stride, dilation) in enumerate(
            zip(stage_sizes, widths, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
        ):
            for i in range(size):
                block = Bottleneck(
                    inputs, width, stride if i == 0 else 1, dilation, i == 0, norm, stride_in_1x1
                )
                self.add_module(f"layer{stage}_{i}", block)
                inputs = 4 * width

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Run stage 1, 2, 3 or 4."""
        for i in range(self.stage_sizes[number - 1]):
            x = self.get_submodule(f"layer{number}_{i}")(x)
        return x

    def stem_to_stage3(self, images: Tensor) -> Tensor:
        """Features of stage 3, [B, C, H/8, W/8]."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
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
        norm: NormMode = "batch_frozen_affine",
        stride_in_1x1: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(stage_sizes, stem_width, widths, norm, stride_in_1x1)
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.attention = tuple(attention)
        if "layer3" in attention:
            self.attention3 = PositionAttention(4 * widths[2], qk_reduction)
        if "layer4" in attention:
            self.attention4 = PositionAttention(4 * widths[3], qk_reduction)
        self.head = Head(4 * widths[3], num_classes, rates)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes, H, W] at the size of the images [B, 3, H, W]."""
        x = self.backbone.stem_to_stage3(images)
        if "layer3" in self.attention:
            x = self.attention3(x)
        x = self.backbone.stage(4, x)
        if "layer4" in self.attention:
            x = self.attention4(x)
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
        self.count = len(channels) - 1
        for i in range(self.count):
            conv = nn.Conv2d(channels[i], channels[i + 1], 4, 2, padding=1)
            if spectral_norm:
                conv = torch.nn.utils.spectral_norm(conv)
            self.add_module(f"conv{i + 1}", conv)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits [B, 1, H/32, W/32] for probabilities or one-hot labels [B, classes, H, W]."""
        x = maps
        for i in range(1, self.count):
            x = F.leaky_relu(self.get_submodule(f"conv{i}")(x), 0.2)
        return self.get_submodule(f"conv{self.count}")(x)


@dataclass(frozen=True)
class Settings:
    """What `make_players` and `train_step` need to know."""

    num_steps: int
    semi_start: int = 0
    lambda_adv_labeled: float = 0.01
    lambda_adv_unlabeled: float = 0.001
    lambda_semi: float = 0.1
    semi_threshold: float = 0.2
    discriminator_fake: Literal["labeled", "both"] = "labeled"
    learning_rate: float = 2.5e-4
    momentum: float = 0.9
    weight_decay: float = 1e-4
    new_layers_factor: float = 10.0
    discriminator_learning_rate: float = 1e-4
    discriminator_betas: tuple[float, float] = (0.9, 0.99)
    poly_power: float = 0.9
    ignore_label: int = 255


@dataclass
class Players:
    """Both networks and their optimisers; no discriminator means supervised training."""

    generator: Generator
    discriminator: Discriminator | None
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer | None


def make_players(
    generator: Generator, discriminator: Discriminator | None, settings: Settings
) -> Players:
    """SGD for G, with new layers at a multiple of the rate and no decay of alpha; Adam for D."""
    groups: dict[str, list[nn.Parameter]] = {"pretrained": [], "new": [], "alpha": []}
    for name, parameter in generator.named_parameters():
        if parameter.requires_grad:
            group = "pretrained" if name.startswith("backbone.") else "new"
            groups["alpha" if name.endswith(".alpha") else group].append(parameter)
    new_rate = settings.learning_rate * settings.new_layers_factor
    options: list[dict[str, Any]] = [
        {"params": groups["pretrained"]},
        {"params": groups["new"], "lr": new_rate},
        {"params": groups["alpha"], "lr": new_rate, "weight_decay": 0.0},
    ]
    generator_optimizer = torch.optim.SGD(
        options,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    discriminator_optimizer = None
    if discriminator is not None:
        discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(),
            lr=settings.discriminator_learning_rate,
            betas=settings.discriminator_betas,
        )
    return Players(generator, discriminator, generator_optimizer, discriminator_optimizer)


def set_learning_rates(optimizer: torch.optim.Optimizer, settings: Settings, step: int) -> None:
    """The poly schedule, for every group."""
    for group in optimizer.param_groups:
        start = group.setdefault("initial_lr", group["lr"])
        group["lr"] = start * (1 - step / settings.num_steps) ** settings.poly_power


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels where `mask` holds; 0 where it holds nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def confidence_loss(logits: Tensor, real: float, mask: Tensor) -> Tensor:
    """Binary cross entropy of D's logits [B, H, W] against one target, mean over valid pixels."""
    target = torch.full_like(logits, real)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return masked_mean(loss, mask)


def one_hot(labels: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """[B, H, W] -> [B, C, H, W]; an ignored pixel is all zeros."""
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)
    return ((labels[:, None] == classes) & (labels[:, None] != ignore_label)).float()


def train_step(
    players: Players, batch: Mapping[str, Mapping[str, Tensor]], settings: Settings, step: int
) -> dict[str, Tensor]:
    """One step of both players, each on the other's parameters from before the step.

    Args:
      players: updated in place. Their gradients stay in `.grad` until the next step.
      batch: `labeled` and `unlabeled`, with `image` [B, 3, H, W] and (labelled) `label` [B, H, W].
      settings: see there.
      step: counted from 0; decides the learning rates and whether unlabelled images take part.

    Returns:
      The losses and the fraction of unlabelled pixels that D was confident of.
    """
    generator, discriminator = players.generator, players.discriminator
    optimizers = [o for o in (players.generator_optimizer, players.discriminator_optimizer) if o]
    for optimizer in optimizers:
        optimizer.zero_grad()
        set_learning_rates(optimizer, settings, step)

    image, label = batch["labeled"]["image"], batch["labeled"]["label"]
    valid = label != settings.ignore_label
    size = label.shape[1:]
    generator.train()
    logits = generator(image)
    cross_entropy = F.cross_entropy(
        logits, label, ignore_index=settings.ignore_label, reduction="none"
    )
    losses = {"cross_entropy": masked_mean(cross_entropy, valid)}
    loss = losses["cross_entropy"]
    if discriminator is None:
        loss.backward()
        players.generator_optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def judge(maps: Tensor) -> Tensor:
        assert discriminator is not None
        return resize(discriminator(maps), size)[:, 0]

    # eval(): the spectral norm of G's pass uses the stored u and v, it does not iterate.
    discriminator.eval().requires_grad_(False)
    fake, fake_valid = logits.softmax(1), valid
    losses["adversarial_labeled"] = confidence_loss(judge(fake), 1.0, valid)
    loss = loss + settings.lambda_adv_labeled * losses["adversarial_labeled"]
    if step >= settings.semi_start:
        unlabeled_logits = generator(batch["unlabeled"]["image"])
        unlabeled_fake = unlabeled_logits.softmax(1)
        unlabeled_judged = judge(unlabeled_fake)
        everywhere = torch.ones_like(unlabeled_judged, dtype=torch.bool)
        keep = unlabeled_judged.detach().sigmoid() > settings.semi_threshold
        own_class = unlabeled_logits.detach().argmax(1)
        losses["adversarial_unlabeled"] = confidence_loss(unlabeled_judged, 1.0, everywhere)
        losses["semi"] = masked_mean(
            F.cross_entropy(unlabeled_logits, own_class, reduction="none"), keep
        )
        losses["kept"] = keep.float().mean()
        loss = loss + settings.lambda_adv_unlabeled * losses["adversarial_unlabeled"]
        loss = loss + settings.lambda_semi * losses["semi"]
        if settings.discriminator_fake == "both":
            fake, fake_valid = torch.cat([fake, unlabeled_fake]), torch.cat([valid, everywhere])
    losses["generator"] = loss
    loss.backward()

    # One forward for fake and real together: train() makes it take exactly one power iteration.
    discriminator.train().requires_grad_(True)
    real = one_hot(label, logits.shape[1], settings.ignore_label)
    fake_judged, real_judged = judge(torch.cat([fake.detach(), real])).split([len(fake), len(real)])
    losses["discriminator"] = 0.5 * (
        confidence_loss(fake_judged, 0.0, fake_valid) + confidence_loss(real_judged, 1.0, valid)
    )
    losses["discriminator"].backward()
    for optimizer in optimizers:
        optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


def to_torch(module: nn.Module, params: Tree, collections: Tree) -> None:
    """Copy our parameters and collections into `module`, in place.

    Args:
      module: built with the same architecture.
      params: a tree as the JAX module's `params`.
      collections: `batch_stats` (mean, var) and `spectral` (u, v), or neither.

    Raises:
      AttributeError: for a leaf without a counterpart.
      ValueError: for a leaf of another shape, and for arrays of the module that no leaf names.
    """
    missing = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    for tree in (params, *collections.values()):
        for path, value in _leaves(tree):
            owner, tensor = _counterpart(module, path)
            array = np.asarray(value)
            if path[-1] == "kernel":
                array = array.transpose(3, 2, 0, 1)  # HWIO -> OIHW
            elif path[-1] == "v":
                _, inputs, height, width = owner.get_parameter("weight_orig").shape
                array = array.reshape(height, width, inputs).transpose(2, 0, 1).reshape(-1)
            if array.shape != tuple(tensor.shape):
                raise ValueError(f"{path}: torch has {tuple(tensor.shape)}, we {array.shape}")
            tensor.data.copy_(torch.from_numpy(array.copy()))
            missing.pop(id(tensor))
    left = [name for name in missing.values() if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"torch has arrays that we do not: {left}")


def from_torch(module: nn.Module, tree: Tree, *, gradients: bool = False) -> dict[str, Any]:
    """The arrays of `module`, or their gradients, as numpy arrays in our layout.

    Args:
      module: as given to `to_torch`.
      tree: params or one collection: it says which arrays to take.
      gradients: take the gradients instead, zeros where there is none.

    Returns:
      A tree of the structure of `tree`.
    """
    taken: dict[str, Any] = {}
    for path, _ in _leaves(tree):
        owner, tensor = _counterpart(module, path)
        if gradients:
            tensor = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        array = tensor.detach().cpu().numpy()
        if path[-1] == "kernel":
            array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
        elif path[-1] == "v":
            shape = owner.get_parameter("weight_orig").shape[1:]
            array = array.reshape(shape).transpose(1, 2, 0).reshape(-1)
        branch = taken
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = array.copy()
    return taken


def _leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _counterpart(module: nn.Module, path: tuple[str, ...]) -> tuple[nn.Module, Tensor]:
    # Our spectral norm is a module of its own, torch's belongs to the convolution.
    owner = module.get_submodule(".".join(path[:-1]).removesuffix(".kernel_norm"))
    kernel = "weight_orig" if hasattr(owner, "weight_orig") else "weight"
    names = {
        "kernel": kernel,
        "scale": "weight",
        "mean": "running_mean",
        "var": "running_var",
        "u": "weight_u",
        "v": "weight_v",
    }
    return owner, getattr(owner, names.get(path[-1], path[-1]))
