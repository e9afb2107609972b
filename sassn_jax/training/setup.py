"""Builds dataset, method and batches from a config."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from sassn_jax import data, methods, processes
from sassn_jax.config import Config
from sassn_jax.data import TrainTransform
from sassn_jax.errors import UnfitError
from sassn_jax.methods import Method, TrainState
from sassn_jax.optimizers import poly_schedule
from sassn_jax.recipes import resolve
from sassn_jax.training import parallel


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of before its first step.

    Attributes:
      config: as `resolve` gives it.
      changed: the fields that the file of weights has changed in the config, a line each.
      mesh: of the devices that share a batch.
      dataset: all its splits.
      method: what is learned from a batch.
      split: which training images are labelled.
      truth_of_unlabeled: whether any image that is taken as unlabelled has a mask to compare with.
      unlabeled: ids of the images that are taken without their masks; none if the method takes
        none, and also those of `split.labeled` with `config.unlabeled="all"`.
      batches: of training, at step 0; of several processes, each has its part of every batch.
    """

    config: Config
    changed: tuple[str, ...]
    mesh: Mesh
    dataset: data.Dataset
    method: Method
    split: data.Split
    truth_of_unlabeled: bool
    unlabeled: tuple[str, ...]
    batches: data.BatchIterator

    def initial_state(self) -> TrainState:
        """Returns the state at step 0, on all devices."""
        state = self.method.init(jax.random.key(self.config.seed), self.batches[0])
        return parallel.put(state, self.state_shardings(state))

    def state_shardings(self, state: TrainState) -> Any:
        """Returns how a state, given as arrays or as shapes, lies on the devices."""
        return parallel.state_shardings(
            state, self.mesh, shard_params=self.config.parallel.shard_params
        )


def set_up(config: Config) -> Setup:
    """Builds what a config describes; writes nothing but a folder's images as records.

    Raises:
      InputError: if something that the user gave is wrong.
    """
    config, changed = resolve(config)
    mesh = parallel.make_mesh(config.batch_size, config.accumulation)
    with processes.first_before_others("dataset"):  # who may prepare it
        dataset = data.load(config.dataset, config.data_dir, config.source, config.files)
    method = methods.create(config, dataset.info.num_classes, dataset.info.ignore_label)
    if config.model.attention_implementation:
        try:
            method.generator.shapes(config.crop_size)
        except NotImplementedError as error:
            value = config.model.attention_implementation
            raise UnfitError(
                f"model.attention_implementation={value!r}: cannot be used here ({error})"
            ) from None
    train = dataset.splits["train"]
    split = data.choose_labeled(train.ids, config.labels, config.seed)
    split = split._replace(fingerprint=dataset.fingerprint)
    truth_of_unlabeled = config.unlabeled == "all" or bool(split.unlabeled)
    if data.UNLABELED in dataset.splits:
        without_masks = dataset.splits[data.UNLABELED]
        split = split._replace(unlabeled=(*split.unlabeled, *without_masks.ids))
        train = data.Joined((train, without_masks))
    unlabeled = train.ids if config.unlabeled == "all" else split.unlabeled
    if method.unlabeled_from is None:
        unlabeled = ()
    batches = data.train_batches(
        data.subset(train, split.labeled),
        data.subset(train, unlabeled),
        unlabeled_from=method.unlabeled_from or 0,
        transform=TrainTransform(
            crop_size=config.crop_size,
            scale=config.augment.scale,
            mirror=config.augment.mirror,
            normalize=config.image,
            ignore_label=dataset.info.ignore_label,
            mark_filled=method.takes_valid,
            num_classes=dataset.info.num_classes,
        ),
        batch_size=config.batch_size,
        seed=config.seed,
        workers=config.loader_workers,
        part=jax.process_index(),
        parts=jax.process_count(),
        max_unreadable=config.max_unreadable,
    )
    return Setup(
        config,
        changed,
        mesh,
        dataset,
        method,
        split,
        truth_of_unlabeled,
        tuple(unlabeled),
        batches,
    )


def abstract_state(method: Method, config: Config) -> TrainState:
    """Returns the shapes of a run's state on one device; nothing is computed.

    Args:
      method: without weights to start from.
      config: of the run.
    """
    batch = data.batch_spec(jax.ShapeDtypeStruct, config.batch_size, config.crop_size)
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(method.init, jax.random.key(0), batch),
    )


def learning_rates(
    config: Config, method: Method, step: int, *, has_discriminator: bool
) -> dict[str, float]:
    """Returns the learning rates after `step` steps, by the name under which they are logged.

    They are those of G's trunk, of D where there is one, and of other networks of the method. G's
    other parts have rates in a fixed proportion to its trunk's.
    """
    rates = {"learning_rate/generator": config.learning_rate}
    if has_discriminator:
        rates["learning_rate/discriminator"] = config.optimizer.discriminator_lr
    power = config.optimizer.poly_power
    own = {f"learning_rate/{x}": rate for x, rate in method.own_learning_rates(step).items()}
    return own | {
        name: float(poly_schedule(rate, config.num_steps, power)(step))
        for name, rate in rates.items()
    }
