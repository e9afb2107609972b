"""Training steps of s4GAN and of the classifier beside it against PyTorch autograd."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.mittal import ClassifierSettings, Mittal
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.models.classifier import Classifier
from sassn_jax.models.generator import Generator
from sassn_jax.models.image_discriminator import ImageDiscriminator
from sassn_jax.optimizers import (
    classifier_optimizer,
    cosine_schedule,
    discriminator_optimizer,
    generator_optimizer,
)
from tests.parity.test_step import (
    CLASSES,
    SIZE,
    TOLERANCE,
    assert_moved_alike,
    make_batch,
    to_float64,
    to_torch_batch,
)
from tests.trees import assert_trees_close, random_variables

NUM_STEPS = 10
RATES = {"learning_rate": 0.01, "num_steps": NUM_STEPS}
DISCRIMINATOR_RATE = 1e-3
LAMBDAS = {"lambda_feature_matching": 0.3, "lambda_self_training": 0.5}
SETTINGS = ClassifierSettings(lr=0.02, final_lr=0.005, weight_decay=1e-2, burn_in=0, ramp=0.2)
NORMALIZE = Normalize("bgr", (100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
WIDTHS = (8, 16, 24, 32)  # of D, narrower than its own, which in float64 take a minute
FADED = (0.5, 1.0, 0.9)  # what red, green and blue are multiplied by in place of random jitter
TINY = {"stage_sizes": (1, 1, 1, 1), "stem_width": 16, "widths": (16, 32, 64, 128)}
NORM = "batch_frozen_affine"


class Torch:
    """The four networks, and a step of three of them, as the facts of the method have it."""

    def __init__(self, torch, reference):
        nn = torch.nn
        self.torch, self.reference = torch, reference
        self.generator = reference.Generator(CLASSES, rates=(2, 4), attention=(), norm=NORM, **TINY)
        widths = (CLASSES + 3, *WIDTHS)
        self.discriminator = nn.ModuleDict(
            {f"conv{i}": nn.Conv2d(*widths[i - 1 : i + 1], 4, 2, padding=1) for i in range(1, 5)}
            | {"score": nn.Conv2d(WIDTHS[-1], 1, 1)}
        )
        trunk = reference.networks.Backbone(norm=NORM, layout="caffe", **TINY)
        self.classifier = nn.ModuleDict({"backbone": trunk, "linear": nn.Conv2d(512, CLASSES, 1)})
        self.settings = reference.Settings(**RATES)

    def load(self, networks):
        """Takes variables by the names of our state, and begins with optimizers and teacher."""
        for name, (params, collections) in networks.items():
            self.reference.to_torch(getattr(self, name), params, collections)
            getattr(self, name).double()
        self.teacher = copy.deepcopy(self.classifier).eval()
        optim = self.torch.optim
        players = self.reference.make_players(self.generator, None, self.settings)
        self.optimizers = {
            "generator": players.generator_optimizer,
            "discriminator": optim.Adam(
                self.discriminator.parameters(), DISCRIMINATOR_RATE, betas=(0.9, 0.99)
            ),
            "classifier": optim.SGD(
                [x for x in self.classifier.parameters() if x.requires_grad],
                SETTINGS.lr, momentum=0.9, nesterov=True, weight_decay=SETTINGS.weight_decay,
            ),
        }  # fmt: skip

    def judge(self, maps, images):
        """D's scores [B] and features [B, C]."""
        x = self.torch.cat([maps, images], 1)
        for i in range(1, 5):
            x = self.torch.nn.functional.leaky_relu(self.discriminator[f"conv{i}"](x), 0.2)
        features = x.mean((2, 3), keepdim=True)
        return self.discriminator["score"](features).flatten(), features.flatten(1)

    def classify(self, network, images):
        """Logits [B, C] of the student or of the teacher."""
        features = network["backbone"].stage(4, network["backbone"].stem_to_stage3(images))
        return network["linear"](features.mean((2, 3), keepdim=True)).flatten(1)

    def scores(self, batch):
        """D's probability that the unlabelled images' predictions are real [B]; moves G's norms."""
        self.generator.train()
        images, _ = scaled_alike(batch["unlabeled"]["image"], batch["labeled"]["image"])
        score, _ = self.judge(self.generator(batch["unlabeled"]["image"]).softmax(1), images)
        return score.sigmoid().tolist()

    def train(self, batch, step, threshold):
        """One step of all; returns the losses by our names."""
        for name in ("generator", "discriminator"):
            self.reference.set_learning_rates(self.optimizers[name], self.settings, step)
        half = (SETTINGS.lr - SETTINGS.final_lr) / 2
        rate = SETTINGS.final_lr + half * (1 + math.cos(math.pi * step / NUM_STEPS))
        self.optimizers["classifier"].param_groups[0]["lr"] = rate
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        real = self.reference.step.one_hot(batch["labeled"]["label"], CLASSES, 255)
        losses, fake = self.differentiate_generator(batch, real, threshold)
        losses |= self.differentiate_discriminator(batch, real, fake)
        losses |= self.differentiate_classifier(batch, real.amax((2, 3)), min(1.0, step / 2))
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.move_teacher(min(1 - 1 / (step + 2), SETTINGS.ema))
        return {name: float(value.detach()) for name, value in losses.items()}

    def differentiate_generator(self, batch, real, threshold):
        """G's losses, and what it makes of the unlabelled images."""
        cross_entropy = self.torch.nn.functional.cross_entropy
        images, unlabeled = batch["labeled"]["image"], batch["unlabeled"]["image"]
        scaled, scaled_unlabeled = scaled_alike(images, unlabeled)
        self.generator.train()
        labels_loss = cross_entropy(
            self.generator(images), batch["labeled"]["label"], ignore_index=255
        )
        logits = self.generator(unlabeled)
        fake = logits.softmax(1)
        self.discriminator.requires_grad_(False)
        score, features = self.judge(fake, scaled_unlabeled)
        _, real_features = self.judge(real, scaled)
        matching = (real_features.mean(0) - features.mean(0)).abs().mean()
        kept = score.sigmoid() > threshold
        training = self.torch.zeros(())
        if kept.any():
            training = cross_entropy(logits[kept], logits[kept].detach().argmax(1))
        loss = (
            labels_loss
            + LAMBDAS["lambda_feature_matching"] * matching
            + LAMBDAS["lambda_self_training"] * training
        )
        loss.backward()
        losses = {
            "loss/cross_entropy": labels_loss,
            "loss/feature_matching": matching,
            "loss/self_training": training,
            "self_training/kept": kept.float().mean(),
            "loss/generator": loss,
        }
        return losses, fake.detach()

    def differentiate_discriminator(self, batch, real, fake):
        """D's loss."""
        images, unlabeled = scaled_alike(batch["labeled"]["image"], batch["unlabeled"]["image"])
        self.discriminator.requires_grad_(True)
        fake_score, _ = self.judge(fake, unlabeled)
        real_score, _ = self.judge(real, images)
        entropy = self.torch.nn.functional.binary_cross_entropy_with_logits
        of_fake = entropy(fake_score, self.torch.zeros(2))
        loss = (of_fake + entropy(real_score, self.torch.ones(2))) / 2
        loss.backward()
        return {
            "loss/discriminator": loss,
            "confidence/fake": fake_score.sigmoid().mean(),
            "confidence/real": real_score.sigmoid().mean(),
        }

    def differentiate_classifier(self, batch, occurring, weight):
        """The student's losses."""
        functional = self.torch.nn.functional
        images = batch["labeled"]["image"], batch["unlabeled"]["image"]
        self.classifier.train()
        student = [self.classify(self.classifier, self.fade(x)) for x in images]
        classification = functional.binary_cross_entropy_with_logits(student[0], occurring)
        with self.torch.no_grad():
            teacher = self.classify(self.teacher, self.torch.cat(images))
        consistency = functional.cosine_embedding_loss(
            self.torch.cat(student), teacher, self.torch.ones(4)
        )
        (classification + weight * consistency).backward()
        return {
            "loss/classification": classification,
            "loss/consistency": consistency,
            "classifier/consistency_weight": self.torch.tensor(weight),
        }

    def move_teacher(self, stays):
        """Towards the student, running statistics too."""
        mine, its = self.teacher.state_dict(), self.classifier.state_dict()
        for name, x in mine.items():
            if x.is_floating_point():
                x.mul_(stays).add_((1 - stays) * its[name])

    def fade(self, images):
        """What the student sees."""
        mean, std = (self.torch.tensor(x).view(1, 3, 1, 1) for x in (NORMALIZE.mean, NORMALIZE.std))
        factors = self.torch.tensor(FADED[::-1]).view(1, 3, 1, 1)  # in the order of the images
        return ((images * std + mean) * factors - mean) / std


def scaled_alike(images, others):
    """Both from 0 to 1, by the least and the largest value of the two."""
    low, high = min(images.min(), others.min()), max(images.max(), others.max())
    return (images - low) / (high - low), (others - low) / (high - low)


@pytest.fixture
def torch64(torch, float64):
    """PyTorch, whose new tensors are of float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


@pytest.fixture
def narrow(monkeypatch):
    """A discriminator of `WIDTHS`."""
    monkeypatch.setattr("sassn_jax.models.image_discriminator.WIDTHS", WIDTHS)


@pytest.fixture
def without_chance(monkeypatch):
    """No channel dropped, and colours changed by the same factors always."""
    monkeypatch.setattr("sassn_jax.models.image_discriminator.DROPOUT", 0.0)
    monkeypatch.setattr(
        "sassn_jax.methods.mittal.photometric", lambda _, images: images * jnp.array(FADED)
    )


@pytest.mark.usefixtures("narrow", "without_chance")
def test_three_steps_of_all_networks(torch64, reference):
    generator = Generator(
        CLASSES, backbone="resnet_tiny", aspp_rates=(2, 4), norm=NORM, attention=()
    )
    discriminator, classifier = ImageDiscriminator(), Classifier(CLASSES, "resnet_tiny", NORM)
    images, maps = jnp.zeros((1, *SIZE, 3)), jnp.zeros((1, *SIZE, CLASSES))
    variables = {
        "generator": random_variables(generator, images, seed=1, train=False),
        "discriminator": random_variables(discriminator, maps, images, seed=2, train=False),
        "classifier": random_variables(classifier, images, seed=3, train=False),
    }
    theirs = Torch(torch64, reference)
    theirs.load(
        {
            name: (x["params"], {k: v for k, v in x.items() if k != "params"})
            for name, x in variables.items()
        }
    )
    # Of two images one is kept at first.
    threshold = float(np.mean(theirs.scores(to_torch_batch(make_batch(0), torch64, "float64"))))
    # That look has moved the running statistics of G.
    reference.to_torch(
        theirs.generator,
        variables["generator"]["params"],
        {"stats": variables["generator"]["batch_stats"]},
    )
    s4gan = S4GAN(
        Segmenter(generator, generator_optimizer(name="sgd", **RATES)),
        discriminator,
        discriminator_optimizer(learning_rate=DISCRIMINATOR_RATE, num_steps=NUM_STEPS),
        S4GANWeights(threshold=threshold, **LAMBDAS),
    )
    schedule = cosine_schedule(SETTINGS.lr, SETTINGS.final_lr, NUM_STEPS)
    method = Mittal(
        s4gan=s4gan,
        classifier=classifier,
        classifier_rate=schedule,
        classifier_optimizer=classifier_optimizer(
            schedule=schedule, weight_decay=SETTINGS.weight_decay
        ),
        settings=SETTINGS,
        normalize=NORMALIZE,
        num_steps=NUM_STEPS,
    )
    state = TrainState(
        step=jnp.int32(0),
        rng=jax.random.key(0),
        teacher=to_float64(variables["classifier"]),
        **{
            name: NetworkState.create(optimizer, to_float64(variables[name]))
            for name, optimizer in {
                "generator": s4gan.generator.optimizer,
                "discriminator": s4gan.discriminator_optimizer,
                "classifier": method.classifier_optimizer,
            }.items()
        },
    )
    our_step = jax.jit(method.step)
    for step in range(3):
        batch = make_batch(step)
        # Some classes are not there, so that there is something to tell.
        batch["labeled"]["label"][0] %= 3
        batch["labeled"]["label"][0, :9] = 255
        wanted = theirs.train(to_torch_batch(batch, torch64, "float64"), step, threshold)
        state, metrics = our_step(state, to_float64(batch))
        for name, want in wanted.items():
            assert float(metrics[name]) == pytest.approx(want, rel=TOLERANCE), (step, name)
        for name, before in variables.items():
            module = getattr(theirs, name)
            assert_moved_alike(getattr(state, name), module, reference, before["params"])
        for tree in state.teacher.values():
            assert_trees_close(tree, reference.from_torch(theirs.teacher, tree), TOLERANCE)
