"""AdvSemiSeg's training in PyTorch: both players' losses, in its own order, and their optimizers.

Written from a description, and with nothing of `experiments.torch_reference`, whose step takes ours
as its model.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone uses)

IGNORED = 255


def binary_cross_entropy(logits, target, valid):
    """Mean over the valid pixels; `logits` [B, 1, H, W], `valid` [B, H, W]."""
    logits = logits[:, 0][valid]
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class Training:
    """Both players and their optimizers; `step` takes an iteration.

    The unlabelled half goes before the labelled one, in ours after it. With batch statistics no
    loss depends on that, only which half the running statistics have seen last.

    Args:
      generator: gives logits at the size of its images, and something else.
      discriminator: gives logits at any smaller size.
      settings: `num_steps`, `learning_rate`, `discriminator_learning_rate`, `weight_decay`, the
        three `lambda_...` of the losses and `semi_threshold`.
    """

    def __init__(self, generator, discriminator, **settings):
        self.generator, self.discriminator = generator.train(), discriminator.train()
        self.settings = settings
        head = list(generator.layer5.parameters())
        in_head = set(map(id, head))
        trunk = [p for p in generator.parameters() if p.requires_grad and id(p) not in in_head]
        decay = settings["weight_decay"]
        self.generator_optimizer = torch.optim.SGD(
            [{"params": trunk}, {"params": head}], lr=0.0, momentum=0.9, weight_decay=decay
        )
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=0.0, betas=(0.9, 0.99)
        )

    def set_learning_rates(self, iteration):
        factor = (1 - iteration / self.settings["num_steps"]) ** 0.9
        trunk, head = self.generator_optimizer.param_groups
        trunk["lr"] = self.settings["learning_rate"] * factor
        head["lr"] = 10 * trunk["lr"]
        (all_of_it,) = self.discriminator_optimizer.param_groups
        all_of_it["lr"] = self.settings["discriminator_learning_rate"] * factor

    def judge(self, maps):
        logits = self.discriminator(maps)
        return F.interpolate(logits, maps.shape[2:], mode="bilinear", align_corners=True)

    def step(self, batch, iteration):
        """The losses, unweighted and as floats, by the names that our metrics have."""
        self.generator_optimizer.zero_grad()
        self.discriminator_optimizer.zero_grad()
        self.set_learning_rates(iteration)
        losses = {}
        # G, of which D's parameters are no part; each half has a backward pass of its own.
        self.discriminator.requires_grad_(False)
        unlabeled = self.learn_from_unlabeled(batch["unlabeled"]["image"], losses)
        label = batch["labeled"]["label"]
        labeled = self.learn_from_labels(batch["labeled"]["image"], label, losses)

        # D: predictions of both halves, then labels. AdvSemiSeg draws the latter by a loader of
        # their own, which here has drawn those of the batch.
        self.discriminator.requires_grad_(True)
        known = label != IGNORED
        everywhere = torch.ones(len(unlabeled), *label.shape[1:], dtype=torch.bool)
        fake, fake_valid = torch.cat([labeled, unlabeled]), torch.cat([known, everywhere])
        of_fake = binary_cross_entropy(self.judge(fake.softmax(1)), 0.0, fake_valid) / 2
        of_fake.backward()
        one_hot = torch.stack([label == i for i in range(fake.shape[1])], dim=1).to(fake.dtype)
        of_real = binary_cross_entropy(self.judge(one_hot), 1.0, known) / 2
        of_real.backward()
        losses["discriminator"] = of_fake.item() + of_real.item()
        self.generator_optimizer.step()
        self.discriminator_optimizer.step()
        return losses

    def learn_from_unlabeled(self, image, losses):
        settings = self.settings
        logits, _ = self.generator(image)
        judged = self.judge(logits.softmax(1))
        everywhere = torch.ones_like(judged[:, 0], dtype=torch.bool)
        adversarial = binary_cross_entropy(judged, 1.0, everywhere)
        target = logits.detach().argmax(1)
        target[judged[:, 0].detach().sigmoid() < settings["semi_threshold"]] = IGNORED
        kept = (target != IGNORED).float().mean().item()
        # Where nothing is kept, its code takes neither loss, and ours the adversarial one.
        assert kept > 0
        semi = F.cross_entropy(logits, target, ignore_index=IGNORED)
        loss = settings["lambda_adv_unlabeled"] * adversarial + settings["lambda_semi"] * semi
        loss.backward()
        losses["adversarial_unlabeled"], losses["self_training"] = adversarial.item(), semi.item()
        losses["kept"], losses["generator"] = kept, loss.item()
        return logits.detach()

    def learn_from_labels(self, image, label, losses):
        logits, _ = self.generator(image)
        cross_entropy = F.cross_entropy(logits, label, ignore_index=IGNORED)
        judged = self.judge(logits.softmax(1))
        adversarial = binary_cross_entropy(judged, 1.0, label != IGNORED)
        loss = cross_entropy + self.settings["lambda_adv_labeled"] * adversarial
        loss.backward()
        losses["cross_entropy"] = cross_entropy.item()
        losses["adversarial_labeled"] = adversarial.item()
        losses["generator"] += loss.item()
        return logits.detach()
