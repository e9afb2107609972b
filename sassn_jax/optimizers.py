"""The networks' optimizers: by parameter groups for G, Adam for D, SGD for a classifier."""

from typing import Any

import jax
import optax

from sassn_jax.errors import check_name

OPTIMIZERS = ("sgd", "adam", "adamw")
CLASSIFIER_MOMENTUM = 0.9


def poly_schedule(learning_rate: float, num_steps: int, power: float = 0.9) -> optax.Schedule:
    """Returns `learning_rate * (1 - step / num_steps) ** power` (DeepLabv2, section 4.1)."""
    return optax.polynomial_schedule(learning_rate, 0.0, power, num_steps)


def parameter_groups(params: Any, *, train_norm: bool) -> Any:
    """Returns the name of each parameter's group.

    Args:
      params: of a segmentation network or a `Classifier`.
      train_norm: whether scale and shift of the trunk's normalization are trained.

    Returns:
      A tree like `params`: `pretrained` (the trunk), `new` (head and attention), `new_undecayed`
      (the attention's alpha, which decay would pull back to 0) or `frozen`.
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
      name: a name in `OPTIMIZERS`. `sgd` is PyTorch's: decay is added to the gradient, then come
        momentum and the learning rate. `adam` also adds decay to the gradient; `adamw` decouples
        it.
      learning_rate: of the trunk at step 0.
      num_steps: after which the learning rate is 0, unless `power` is 0.
      power: of the poly schedule; 0 keeps the learning rate constant.
      momentum: of SGD, without Nesterov.
      weight_decay: of all that is trained, biases included, except the attention's alpha.
      new_layer_multiplier: of the learning rate, for head and attention.
      train_norm: see `parameter_groups`.

    Raises:
      InputError: for an unknown `name`.
    """
    check_name("name", name, OPTIMIZERS)

    def group(multiplier: float, decay: float) -> optax.GradientTransformation:
        schedule = poly_schedule(multiplier * learning_rate, num_steps, power)
        if name == "sgd":
            return optax.chain(optax.add_decayed_weights(decay), optax.sgd(schedule, momentum))
        if name == "adam":
            return optax.chain(optax.add_decayed_weights(decay), optax.adam(schedule))
        return optax.adamw(schedule, weight_decay=decay)

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
    """Returns AdvSemiSeg's optimizer of D: Adam on a poly schedule, without decay."""
    return optax.adam(poly_schedule(learning_rate, num_steps, power), b1=betas[0], b2=betas[1])


def cosine_schedule(
    learning_rate: float, final_learning_rate: float, num_steps: int
) -> optax.Schedule:
    """Returns half a cosine from `learning_rate` at step 0 to `final_learning_rate`."""
    return optax.cosine_decay_schedule(
        learning_rate, num_steps, alpha=final_learning_rate / learning_rate
    )


def classifier_optimizer(
    *,
    schedule: optax.Schedule,
    weight_decay: float,
    train_norm: bool = False,
) -> optax.GradientTransformation:
    """Returns Mittal et al.'s optimizer: SGD with Nesterov's momentum.

    Args:
      schedule: of the learning rate, for trunk and new layers alike.
      weight_decay: added to the gradient, as in PyTorch.
      train_norm: see `parameter_groups`.
    """
    sgd = optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, CLASSIFIER_MOMENTUM, nesterov=True),
    )
    groups = {"pretrained": sgd, "new": sgd, "frozen": optax.set_to_zero()}
    return optax.partition(groups, lambda params: parameter_groups(params, train_norm=train_norm))
