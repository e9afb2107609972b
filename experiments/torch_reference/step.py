"""One semi-supervised training step of both players, in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)
from torch import Tensor, nn

from experiments.torch_reference.networks import Discriminator, Generator, resize


@dataclass(frozen=True)
class Settings:
    """Weights and thresholds of the losses, and what the optimizers need."""

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
    """Both networks and their optimizers; without a discriminator training is supervised."""

    generator: Generator
    discriminator: Discriminator | None
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer | None


def make_players(
    generator: Generator, discriminator: Discriminator | None, settings: Settings
) -> Players:
    """SGD for G, with a multiple of the rate for new layers and no decay of alpha; Adam for D."""
    groups: dict[str, list[nn.Parameter]] = {"pretrained": [], "new": [], "alpha": []}
    for name, parameter in generator.named_parameters():
        if parameter.requires_grad:
            group = "pretrained" if name.startswith("backbone.") else "new"
            groups["alpha" if name.endswith(".alpha") else group].append(parameter)
    rate, decay = settings.learning_rate, settings.weight_decay
    new_rate = rate * settings.new_layers_factor
    options: list[dict[str, Any]] = [
        {"params": groups["pretrained"]},
        {"params": groups["new"], "lr": new_rate},
        {"params": groups["alpha"], "lr": new_rate, "weight_decay": 0.0},
    ]
    generator_optimizer = torch.optim.SGD(options, rate, settings.momentum, weight_decay=decay)
    discriminator_optimizer = None
    if discriminator is not None:
        rate, betas = settings.discriminator_learning_rate, settings.discriminator_betas
        discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), rate, betas)
    return Players(generator, discriminator, generator_optimizer, discriminator_optimizer)


def set_learning_rates(optimizer: torch.optim.Optimizer, settings: Settings, step: int) -> None:
    """Sets every group's rate by the poly schedule."""
    for group in optimizer.param_groups:
        start = group.setdefault("initial_lr", group["lr"])
        group["lr"] = start * (1 - step / settings.num_steps) ** settings.poly_power


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels where `mask` is set; 0 where it is set nowhere."""
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
    """Takes one step of both players; each uses the other's parameters from before the step.

    Args:
      players: updated in place. Their gradients stay in `.grad` until the next step.
      batch: `labeled` with `image` [B, 3, H, W] and `label` [B, H, W]; `unlabeled` with `image`.
      settings: see `Settings`.
      step: counted from 0; decides the learning rates and whether unlabelled images take part.

    Returns:
      The losses, and the fraction of unlabelled pixels that D was confident of.
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

    # eval(): in G's pass spectral norm uses the stored u and v and does not iterate.
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

    # train() iterates once in each forward, so fakes and labels share one.
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
