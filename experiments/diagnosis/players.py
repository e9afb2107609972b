"""What D looks at, and which of the terms of G's objective moves G, at the end of a run."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from sassn_jax import losses, methods
from sassn_jax.config import Config
from sassn_jax.methods import Batch, Method, TrainState
from sassn_jax.recipes import override

LABELS = "labels"  # the term of the labelled images, which has no weight
WEIGHTS = (  # of the other terms
    "loss.lambda_adv_labeled",
    "loss.lambda_adv_unlabeled",
    "loss.lambda_semi",
    "cutmix.lambda_consistency",
    "unimatch.lambda_strong",
    "unimatch.lambda_features",
)


def discriminator_losses(method: Method, state: TrainState, batch: Batch) -> dict[str, float]:
    """Returns D's loss on soft predictions and one-hot truth, and without this easy cue.

    A prediction is soft and the truth is one-hot, which is enough to tell them apart. Where D's
    loss rises towards log 2 = 0.69 once that cue is taken away, D has looked at little else. The
    loss is equation (5) of the paper; predictions are those of the network in evaluation.

    Args:
      method: with a D of pixels.
      state: of its networks.
      batch: of training, with an unlabelled half.

    Returns:
      By what D is shown: `as trained`; `predictions one-hot`, each pixel as its most likely class;
      `truth as soft`, by as much as the predictions are on average. The same three for predictions
      of unlabelled images, beside the truth of the labelled ones. And D's mean confidence in
      unlabelled pixels that are predicted right and wrong.
    """
    labeled, unlabeled = batch["labeled"], batch["unlabeled"]
    num_classes, ignore_label = method.generator.num_classes, method.generator.ignore_label
    truth = losses.one_hot(labeled["label"], num_classes)
    valid = labeled["label"] != ignore_label

    def loss(
        fake: Float[Array, "B H W C"],
        fake_valid: Bool[Array, "B H W"],
        real: Float[Array, "B H W C"],
    ) -> Float[Array, ""]:
        return losses.discriminator_loss(confidence(fake), fake_valid, confidence(real), valid)

    def confidence(probabilities: Float[Array, "B H W C"]) -> Float[Array, "B H W"]:
        judged = method.confidence(state, probabilities)
        assert judged is not None
        return jax.scipy.special.logit(jnp.clip(judged, 1e-6, 1 - 1e-6))

    variables = method.inference_variables(state)
    of_labeled = method.predict(variables, labeled["image"])
    of_unlabeled = method.predict(variables, unlabeled["image"])
    result: dict[str, Any] = {}
    for name, predicted, shown in (
        ("", of_labeled, valid),
        (", unlabelled", of_unlabeled, jnp.ones_like(valid)),
    ):
        sure = losses.masked_mean(jnp.max(predicted, axis=-1), shown)
        spread = (1 - sure) / (num_classes - 1)  # what each other class gets
        soft = jnp.where(valid[..., None], jnp.where(truth == 1, sure, spread), 0)
        hard = losses.one_hot(jnp.argmax(predicted, axis=-1), num_classes)
        result[f"as trained{name}"] = loss(predicted, shown, truth)
        result[f"predictions one-hot{name}"] = loss(hard, shown, truth)
        result[f"truth as soft{name}"] = loss(predicted, shown, soft)
    known = unlabeled["label"] != ignore_label
    right = jnp.argmax(of_unlabeled, axis=-1) == unlabeled["label"]
    judged = jax.nn.sigmoid(confidence(of_unlabeled))
    result["confidence where right"] = losses.masked_mean(judged, known & right)
    result["confidence where wrong"] = losses.masked_mean(judged, known & ~right)
    return {name: float(value) for name, value in result.items()}


def gradient_norms(
    config: Config, num_classes: int, state: TrainState, batch: Batch
) -> dict[str, float]:
    """Returns the norm of the gradient of each term of G's objective, times its weight.

    Args:
      config: of the method.
      num_classes: of the dataset.
      state: of its networks.
      batch: of training, with an unlabelled half.

    Returns:
      By the field of the weight; `labels` is the cross entropy on labelled images. A term with the
      weight 0 is left out.
    """
    groups = {kind.GROUP for kind in methods.METHODS[config.method].SETTINGS}
    fields = config.to_dict()
    weights = {}
    for field in WEIGHTS:
        group, name = field.split(".")
        if group in groups and fields[group][name]:
            weights[field] = fields[group][name]

    def gradient(kept: str) -> Any:
        """Returns the gradient without all terms that have a weight but one."""
        given = {field: value if field == kept else 0.0 for field, value in weights.items()}
        method: Any = methods.create(override(config, given), num_classes)
        objective = getattr(method, "generator_objective", None) or method.objective
        return jax.grad(lambda params: objective(params, state, batch)[0])(state.generator.params)

    of_labels = gradient(LABELS)
    norms = {LABELS: of_labels}
    for field in weights:
        norms[field] = jax.tree.map(jnp.subtract, gradient(field), of_labels)
    return {name: float(optax.tree.norm(gradients)) for name, gradients in norms.items()}
