"""Ways to learn from a batch, one file each; `create` builds the one that a config names."""

from ml_collections import ConfigDict

from sassn_jax.data import Normalize
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.cutmix import CutMix, CutMixWeights
from sassn_jax.methods.method import Batch, Method, NetworkState, TrainState, Variables
from sassn_jax.methods.mittal import PUBLISHED_BATCH, ClassifierSettings, Mittal
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.supervised import Supervised
from sassn_jax.methods.unimatch import AdversarialUniMatch, UniMatch, UniMatchWeights, WeakToStrong
from sassn_jax.models.classifier import Classifier
from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.image_discriminator import ImageDiscriminator
from sassn_jax.models.networks import create_network
from sassn_jax.optimizers import (
    classifier_optimizer,
    discriminator_optimizer,
    generator_optimizer,
)
from sassn_jax.weights import Pretrained

__all__ = ["METHODS", "Batch", "Method", "NetworkState", "TrainState", "Variables", "create"]

METHODS = {
    "supervised": Supervised,
    "advsemiseg": Adversarial,
    "sa": Adversarial,
    "sn": Adversarial,
    "sassn": Adversarial,
    "fcn8s": Supervised,
    "dilation": Supervised,
    "sa1": Adversarial,
    "sa2": Adversarial,
    "sa1_sn": Adversarial,
    "sa2_sn": Adversarial,
    "advsemiseg_code": Adversarial,
    "s4gan": S4GAN,
    "mittal": Mittal,
    "cutmix": CutMix,
    "unimatch": UniMatch,
    "unimatch_sassn": AdversarialUniMatch,
}


def create(config: ConfigDict, num_classes: int, ignore_label: int = 255) -> Method:
    """Returns the method that a valid config describes, its networks and optimizers included."""
    model, optimizer = config.model, config.optimizer
    schedule = {"num_steps": config.num_steps, "power": optimizer.poly_power}
    method = Supervised(
        generator=create_network(
            num_classes=num_classes,
            backbone=model.backbone,
            head=model.head,
            attention=tuple(model.attention),
            aspp_rates=tuple(model.aspp_rates),
            auxiliary_head=model.auxiliary_head,
            qk_reduction=model.qk_reduction,
            norm=model.norm,
            layout=model.layout,
            dtype=model.dtype,
            remat=model.remat,
        ),
        generator_optimizer=generator_optimizer(
            name=optimizer.name,
            learning_rate=_learning_rate(config),
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            new_layer_multiplier=optimizer.new_layer_multiplier,
            train_norm=model.norm == "batch",
            **schedule,
        ),
        pretrained=Pretrained(model.weights, model.head, tuple(model.aspp_rates))
        if model.weights
        else None,
        ignore_label=ignore_label,
        accumulation=config.accumulation,
    )
    kind = METHODS[config.method]
    if kind is Supervised:
        return method
    if kind is CutMix:
        return CutMix(**vars(method), weights=CutMixWeights(**config.cutmix))
    if kind is UniMatch:
        return UniMatch(**vars(method), consistency=_weak_to_strong(config))
    players = {
        **vars(method),
        "discriminator_optimizer": discriminator_optimizer(
            learning_rate=optimizer.discriminator_lr,
            betas=tuple(optimizer.discriminator_betas),
            **schedule,
        ),
    }
    if issubclass(kind, Adversarial):
        adversarial = Adversarial(
            **players,
            discriminator=Discriminator(spectral_norm=model.spectral_norm, dtype=model.dtype),
            weights=LossWeights(**config.loss),
        )
        if kind is Adversarial:
            return adversarial
        return AdversarialUniMatch(**vars(adversarial), consistency=_weak_to_strong(config))
    s4gan = S4GAN(
        **players,
        discriminator=ImageDiscriminator(dtype=model.dtype),
        weights=S4GANWeights(**config.s4gan),
    )
    return s4gan if kind is S4GAN else _with_classifier(s4gan, config)


def _with_classifier(s4gan: S4GAN, config: ConfigDict) -> Mittal:
    model, settings = config.model, ClassifierSettings(**config.classifier)
    norm = "frozen" if model.norm == "frozen" else "batch"  # the published one trains all of it
    rate_scale = 2 * config.batch_size / PUBLISHED_BATCH
    return Mittal(
        **vars(s4gan),
        classifier=Classifier(
            num_classes=s4gan.generator.num_classes,
            backbone=model.backbone,
            norm=norm,
            layout=model.layout,
            dtype=model.dtype,
            remat=model.remat,
        ),
        classifier_optimizer=classifier_optimizer(
            learning_rate=rate_scale * settings.lr,
            final_learning_rate=rate_scale * settings.final_lr,
            num_steps=config.num_steps,
            weight_decay=settings.weight_decay,
            train_norm=norm == "batch",
        ),
        settings=settings,
        normalize=_normalize(config),
        num_steps=config.num_steps,
    )


def _weak_to_strong(config: ConfigDict) -> WeakToStrong:
    return WeakToStrong(UniMatchWeights(**config.unimatch), _normalize(config))


def _normalize(config: ConfigDict) -> Normalize:
    """How images were made what they are, for methods that change their colours."""
    image = config.image
    return Normalize(image.channel_order, tuple(image.mean), tuple(image.std))


def _learning_rate(config: ConfigDict) -> float:
    """G's, which may be given for another size of batch (Goyal et al. 2017, section 2.1)."""
    optimizer = config.optimizer
    if not optimizer.lr_batch_size:
        return optimizer.lr
    return optimizer.lr * config.batch_size / optimizer.lr_batch_size
