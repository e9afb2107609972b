"""Each network's optimizer: by parameter groups for G, Adam for D, SGD for a classifier."""

from typing import Any

import jax
import optax

OPTIMIZERS = ("sgd", "adam", "adamw")  # of a segmentation network
CLASSIFIER_MOMENTUM = 0.9


def poly_schedule(learning_rate: float, num_steps: int, power: float = 0.9) -> optax.Schedule:
    """Returns `learning_rate * (1 - step / num_steps) ** power` (DeepLabv2, section 4.1)."""
    return optax.polynomial_schedule(learning_rate, 0.0, power, num_steps)


def parameter_groups(params: Any, *, train_norm: bool) -> Any:
    """Names each parameter's group.

    Args:
      params: of a segmentation network or a `Classifier`.
      train_norm: whether scale and shift of the trunk's normalization are trained.

    Returns:
      A tree like `params` of `pretrained` (the trunk), `new` (head and attention), `new_undecayed`
      (the attention's alpha, which decay would pull back to where it started) or `frozen`.
    """

    def group(path: tuple, _: Any) -> str:
        names = [entry.key for entry in path]
        if names[0] == "backbone":
            is_norm = names[-2].rpartition("_")[2].startswith("bn")
            return "frozen" if is_norm and not train_norm else "pretrained"
        return "new_undecayed" if names[-1] == "alpha" else "new"

    return jax.tree_util.tree_map_with_path(group, params)


def generator_optimizer(
    *,
    name: str,
    learning_rate: float,
    num_steps: int,
    power: float = 0.9,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    new_layer_multiplier: float = 10.0,
    train_norm: bool = False,
) -> optax.GradientTransformation:
    """Returns the optimizer of a segmentation network.

    Args:
      name: `sgd`, as PyTorch computes it: the decay joins the gradient, then momentum, then the
        learning rate; `adam`, where the decay joins the gradient too; or `adamw`, whose decay is
        decoupled (neither uses `momentum`).
      learning_rate: of the trunk at step 0.
      num_steps: after which the learning rate is 0, unless `power` is.
      power: of the poly schedule; 0 leaves the learning rate as it is.
      momentum: of SGD, without Nesterov.
      weight_decay: on everything trained, biases included, except the attention's alpha.
      new_layer_multiplier: times the learning rate for head and attention.
      train_norm: whether scale and shift of the trunk's normalization are trained.

    Raises:
      ValueError: for another name.
    """

    def group(multiplier: float, decay: float) -> optax.GradientTransformation:
        schedule = poly_schedule(multiplier * learning_rate, num_steps, power)
        if name == "sgd":
            return optax.chain(optax.add_decayed_weights(decay), optax.sgd(schedule, momentum))
        if name == "adam":
            return optax.chain(optax.add_decayed_weights(decay), optax.adam(schedule))
        if name == "adamw":
            return optax.adamw(schedule, weight_decay=decay)
        raise ValueError(f"optimizer {name!r}: expected sgd, adam or adamw")

    groups = {
        "pretrained": group(1.0, weight_decay),
        "new": group(new_layer_multiplier, weight_decay),
        "new_undecayed": group(new_layer_multiplier, 0.0),
        "frozen": optax.set_to_zero(),
    }
    return optax.partition(groups, lambda params: parameter_groups(params, train_norm=train_norm))


def discriminator_optimizer(
    *,
    learning_rate: float,
    num_steps: int,
    power: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.99),
) -> optax.GradientTransformation:
    """Returns Adam on a poly schedule, without decay, as AdvSemiSeg trains D."""
    return optax.adam(poly_schedule(learning_rate, num_steps, power), b1=betas[0], b2=betas[1])


def classifier_optimizer(
    *,
    learning_rate: float,
    final_learning_rate: float,
    num_steps: int,
    weight_decay: float,
    train_norm: bool = False,
) -> optax.GradientTransformation:
    """Returns SGD with Nesterov's momentum on a cosine schedule, as Mittal et al. classify.

    Args:
      learning_rate: at step 0, of trunk and new layers alike.
      final_learning_rate: after `num_steps`.
      num_steps: of the run.
      weight_decay: joins the gradient, as in PyTorch.
      train_norm: whether scale and shift of the trunk's normalization are trained.
    """
    schedule = optax.cosine_decay_schedule(
        learning_rate, num_steps, alpha=final_learning_rate / learning_rate
    )
    sgd = optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, CLASSIFIER_MOMENTUM, nesterov=True),
    )
    groups = {"pretrained": sgd, "new": sgd, "frozen": optax.set_to_zero()}
    return optax.partition(groups, lambda params: parameter_groups(params, train_norm=train_norm))
