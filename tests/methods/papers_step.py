"""The semi-supervised step as the paper writes it, computed from its equations alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sassn_jax.models.layers import resize_bilinear

from .conftest import CLASSES, SIZE, kernel_matrix

WEIGHTS = {"lambda_adv_labeled": 0.3, "lambda_adv_unlabeled": 0.2, "lambda_semi": 0.5}


class Paper:
    """One step as the paper writes it: a forward of a network for each batch of images.

    With `exclude_filled` the means over unlabelled images are over the pixels that are `valid`.
    """

    def __init__(
        self,
        method,
        state,
        threshold=None,
        lambda_semi=WEIGHTS["lambda_semi"],
        exclude_filled=False,
    ):
        self.generator, self.discriminator = method.generator.network, method.discriminator
        self.state, self.threshold, self.lambda_semi = state, threshold, lambda_semi
        self.exclude_filled = exclude_filled

    def taken(self, unlabeled):
        """The pixels of unlabelled images that take part."""
        return unlabeled["valid"] | (not self.exclude_filled)

    def predict(self, params, batch_stats, images):
        """G's probabilities, and its batch statistics after this forward."""
        logits, new = self.generator.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return jax.nn.softmax(logits), new["batch_stats"]

    def confidence(self, params, spectral, maps):
        """D's probability for each pixel, with the singular vectors given."""
        logits = self.discriminator.apply({"params": params, "spectral": spectral}, maps)
        return jax.nn.sigmoid(resize_bilinear(logits, SIZE)[..., 0])

    def generator_loss(self, params, batch):
        """Equation (1), and G's statistics after it; D as it stands."""
        d = self.state.discriminator
        judge = functools.partial(self.confidence, d.params, d.collections["spectral"])
        labels = batch["labeled"]["label"]
        valid = labels != 255
        probabilities, stats = self.predict(
            params, self.state.generator.collections["batch_stats"], batch["labeled"]["image"]
        )
        of_label = jnp.sum(jax.nn.one_hot(labels, CLASSES) * probabilities, axis=-1)
        log_of_label = jnp.log(jnp.where(valid, of_label, 1))
        cross_entropy = -jnp.mean(log_of_label, where=valid)  # (2)
        adversarial = -jnp.mean(jnp.log(judge(probabilities)), where=valid)  # (3)
        loss = cross_entropy + WEIGHTS["lambda_adv_labeled"] * adversarial
        if "unlabeled" in batch:
            probabilities, stats = self.predict(params, stats, batch["unlabeled"]["image"])
            confidence = judge(probabilities)
            taken = self.taken(batch["unlabeled"])
            adversarial = -jnp.mean(jnp.log(confidence), where=taken)  # (3)
            loss += WEIGHTS["lambda_adv_unlabeled"] * adversarial
            trusted = (confidence > self.threshold) & taken
            log_best = jnp.log(jnp.max(probabilities, axis=-1))
            loss += self.lambda_semi * -jnp.mean(log_best, where=trusted)  # (4)
        return loss, stats

    def discriminator_loss(self, params, spectral, batch, fake_from):
        """Equation (5), a pass of D for each kind of input."""
        labels = batch["labeled"]["label"]
        valid = labels != 255
        stats = self.state.generator.collections["batch_stats"]
        losses, masks = [], []
        for half in fake_from:
            fake, _ = self.predict(self.state.generator.params, stats, batch[half]["image"])
            losses.append(-jnp.log(1 - self.confidence(params, spectral, fake)))
            masks.append(valid if half == "labeled" else self.taken(batch["unlabeled"]))
        on_fake = jnp.mean(jnp.concatenate(losses), where=jnp.concatenate(masks))
        real = jax.nn.one_hot(labels, CLASSES)
        on_real = jnp.mean(-jnp.log(self.confidence(params, spectral, real)), where=valid)
        return (on_fake + on_real) / 2


def iterated(discriminator):
    """D's singular vectors after one power iteration, in NumPy."""
    spectral = {}
    for name, conv in discriminator.params.items():
        matrix = kernel_matrix(conv["kernel"]).astype(np.float64)
        v = matrix.T @ np.asarray(discriminator.collections["spectral"][name]["kernel_norm"]["u"])
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
        vectors = {"u": jnp.asarray(u, "float32"), "v": jnp.asarray(v, "float32")}
        spectral[name] = {"kernel_norm": vectors}
    return spectral


def dividing_threshold(confidence):
    """A confidence that about half of the pixels are above, and none near."""
    values = np.sort(np.ravel(confidence))
    middle = values[int(0.4 * len(values)) : int(0.6 * len(values))]
    widest = np.argmax(np.diff(middle))
    return float((middle[widest] + middle[widest + 1]) / 2)


def confidence_threshold(method, state, batch):
    """One that divides D's confidence in G's predictions for the unlabelled images of a batch."""
    paper, d = Paper(method, state), state.discriminator
    stats = state.generator.collections["batch_stats"]
    maps, _ = paper.predict(state.generator.params, stats, batch["unlabeled"]["image"])
    return dividing_threshold(paper.confidence(d.params, d.collections["spectral"], maps))


def papers_step(method, state, spectral, threshold, batch, fake_from, exclude_filled=False):
    """Losses and gradients of both players, and G's statistics."""
    paper = Paper(method, state, threshold, exclude_filled=exclude_filled)
    (g_loss, stats), g_gradient = jax.value_and_grad(paper.generator_loss, has_aux=True)(
        state.generator.params, batch
    )
    d_loss, d_gradient = jax.value_and_grad(paper.discriminator_loss)(
        state.discriminator.params, spectral, batch, fake_from
    )
    return (g_loss, g_gradient, stats), (d_loss, d_gradient)
