"""What D looks at, and which of the terms of G's objective moves G, at the end of a run."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sassn_jax import losses, methods
from sassn_jax.config import Config
from sassn_jax.methods import Batch, Method, TrainState
from sassn_jax.recipes import override

TERMS = (
    "loss.lambda_adv_labeled",
    "loss.lambda_adv_unlabeled",
    "loss.lambda_semi",
    "cutmix.lambda_consistency",
    "unimatch.lambda_strong",
    "unimatch.lambda_features",
)
NOTHING = 1e-6  # keeps logarithms finite


def discriminator_losses(method: Method, state: TrainState, batch: Batch) -> dict[str, float]:
    """Returns D's loss for what it was trained on, and for versions without an easy cue.

    A prediction is soft and the truth is one-hot, which is enough to tell them apart. Where D's
    loss rises towards log 2 = 0.69 once that cue is taken away, D has looked at nothing else.

    Args:
      method: with a D of pixels.
      state: of its networks.
      batch: of training, with an unlabelled half.

    Returns:
      By what D is shown: `as trained`; `predictions one-hot`, each pixel as its most likely class;
      `truth as soft`, by as much as the predictions are on average; the same three for predictions
      of unlabelled images. And D's mean confidence in unlabelled pixels that are predicted right
      and wrong.
    """
    labeled, unlabeled = batch["labeled"], batch["unlabeled"]
    num_classes = method.generator.num_classes
    truth = losses.one_hot(labeled["label"], num_classes)
    valid = labeled["label"] != method.generator.ignore_label

    def loss(fake: Float[Array, "B H W C"], real: Float[Array, "B H W C"]) -> Float[Array, ""]:
        of_fake, of_real = confidence(fake), confidence(real)
        everywhere = jnp.ones_like(of_fake, bool)
        fooled = losses.masked_mean(-jnp.log1p(-of_fake + NOTHING), everywhere)
        return (fooled + losses.masked_mean(-jnp.log(of_real + NOTHING), valid)) / 2

    def confidence(probabilities: Float[Array, "B H W C"]) -> Float[Array, "B H W"]:
        judged = method.confidence(state, probabilities)
        assert judged is not None
        return judged

    result: dict[str, Any] = {}
    for name, images in (("", labeled["image"]), (", unlabelled", unlabeled["image"])):
        predicted = method.predict(method.inference_variables(state), jnp.asarray(images))
        sure = jnp.mean(jnp.max(predicted, axis=-1))
        smooth = (1 - sure) * num_classes / (num_classes - 1)
        hard = losses.one_hot(jnp.argmax(predicted, axis=-1), num_classes)
        result[f"as trained{name}"] = loss(predicted, truth)
        result[f"predictions one-hot{name}"] = loss(hard, truth)
        result[f"truth as soft{name}"] = loss(
            predicted, (1 - smooth) * truth + smooth / num_classes
        )
    right = jnp.argmax(predicted, axis=-1) == unlabeled["label"]
    result["confidence where right"] = losses.masked_mean(confidence(predicted), right)
    result["confidence where wrong"] = losses.masked_mean(confidence(predicted), ~right)
    return {name: float(value) for name, value in result.items()}


def gradient_norms(
    config: Config, num_classes: int, state: TrainState, batch: Batch
) -> dict[str, float]:
    """Returns the norm of the gradient of each term of G's objective, times its weight.

    Args:
      config: of the run.
      num_classes: of the dataset.
      state: of its networks.
      batch: of training, with an unlabelled half.

    Returns:
      By field of the weight; `labels` is the cross entropy on labelled images.
    """
    fields = config.to_dict()
    own = {kind.GROUP for kind in methods.METHODS[config.method].SETTINGS}
    weights = {
        term: float(fields[group][name])
        for term in TERMS
        for group, name in (term.split("."),)
        if group in own
    }

    def gradient(kept: str) -> Any:
        given = {term: value if term == kept else 0.0 for term, value in weights.items()}
        method: Any = methods.create(override(config, given), num_classes)
        objective = getattr(method, "generator_objective", None) or method.objective
        return jax.grad(lambda params: objective(params, state, batch)[0])(state.generator.params)

    of_labels = gradient("")
    norms = {"labels": of_labels} | {
        term: jax.tree.map(jnp.subtract, gradient(term), of_labels)
        for term, value in weights.items()
        if value
    }
    return {name: float(optax.tree.norm(gradients)) for name, gradients in norms.items()}
