"""From a config to what a run is made of."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sassn_jax import data, methods
from sassn_jax.data import Normalize, TrainTransform
from sassn_jax.errors import InputError
from sassn_jax.inference import Inference
from sassn_jax.methods import Method, TrainState
from sassn_jax.training import parallel
from sassn_jax.training.config import resolve

# Files of a workdir.
SPLIT = "split.json"
CLASSES = "classes.json"


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of before its first step.

    Attributes:
      config: as `resolve` gives it.
      mesh: of the devices that share a batch.
      dataset: all its splits.
      method: what is learned from a batch.
      split: which training images are labelled.
      batches: of training, at step 0.
    """

    config: ConfigDict
    mesh: Mesh
    dataset: data.Dataset
    method: Method
    split: data.Split
    batches: data.BatchIterator

    def pretrained_parts(self) -> tuple[str, ...]:
        """Checks the file of weights, and names what it gives: `backbone`, perhaps `head` and more.

        Raises:
          InputError: if it cannot be read, or is of another network.
        """
        if self.method.pretrained is None:
            return ()
        config = ConfigDict(self.config.to_dict())
        config.model.weights = ""  # for the shapes alone
        info = self.dataset.info
        method = methods.create(config, info.num_classes, info.ignore_label)
        return self.method.pretrained.parts(abstract_state(method, config).generator.variables)

    def check_workdir(self, workdir: Path) -> None:
        """Checks that a run goes on with the images, masks and classes that it began with.

        Raises:
          InputError: if the data, or the file of ids, have changed.
        """
        split, classes, info = workdir / SPLIT, workdir / CLASSES, self.dataset.info
        if split.exists() and data.read_split(split) != self.split:
            raise InputError(
                f"{split}: the run began with other labelled or unlabelled images, or with other "
                "masks, than the config and the data give now; restore them, or choose another "
                "--workdir"
            )
        if classes.exists() and (
            data.read_classes(classes, info.name).class_names != info.class_names
        ):
            raise InputError(
                f"{classes}: the run began with other classes than the data have now; restore "
                "them, or choose another --workdir"
            )

    def write(self, workdir: Path) -> None:
        """Writes which images are labelled, and the dataset's classes, to a workdir."""
        data.write_split(workdir / SPLIT, self.split)
        data.write_classes(workdir / CLASSES, self.dataset.info)

    def initial_state(self, seed: int) -> TrainState:
        """Returns the state at step 0, on all devices."""
        state = self.method.init(jax.random.key(seed), self.batches[0])
        return jax.device_put(state, parallel.replicated(self.mesh))


def abstract_state(method: Method, config: ConfigDict) -> Any:
    """Returns shapes of a run's state, on one device, with nothing computed.

    Args:
      method: without weights to start from.
      config: of the run.
    """
    height, width = config.crop_size
    images = jax.ShapeDtypeStruct((config.batch_size, height, width, 3), "float32")
    labels = jax.ShapeDtypeStruct((config.batch_size, height, width), "int32")
    batch = {"labeled": {"image": images, "label": labels}}
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(method.init, jax.random.key(0), batch),
    )


def set_up(config: ConfigDict) -> Setup:
    """Builds what a config describes; reads, but writes nothing.

    Raises:
      InputError: if something that the user gave is wrong.
    """
    config = resolve(config)
    mesh = parallel.make_mesh(config.batch_size, config.accumulation)
    dataset = data.load(config.dataset, config.data_dir)
    method = methods.create(config, dataset.info.num_classes, dataset.info.ignore_label)
    train = dataset.splits["train"]
    split = data.choose_labeled(train.ids, config.labels, config.seed)
    split = split._replace(fingerprint=dataset.fingerprint)
    if data.UNLABELED in dataset.splits:
        without_masks = dataset.splits[data.UNLABELED]
        split = split._replace(unlabeled=(*split.unlabeled, *without_masks.ids))
        train = data.Joined((train, without_masks))
    unlabeled = train.ids if config.unlabeled == "all" else split.unlabeled
    batches = data.train_batches(
        data.subset(train, split.labeled),
        None if method.unlabeled_from is None else data.subset(train, unlabeled),
        unlabeled_from=method.unlabeled_from or 0,
        transform=TrainTransform(
            crop_size=tuple(config.crop_size),
            scale=tuple(config.augment.scale),
            mirror=config.augment.mirror,
            normalize=make_normalize(config),
            ignore_label=dataset.info.ignore_label,
            mark_filled=method.takes_valid,
            num_classes=dataset.info.num_classes,
        ),
        batch_size=config.batch_size,
        seed=config.seed,
        workers=config.loader_workers,
    )
    return Setup(config, mesh, dataset, method, split, batches)


def make_normalize(config: ConfigDict) -> Normalize:
    """Returns what the config's backbone expects of an image."""
    image = config.image
    return Normalize(image.channel_order, tuple(image.mean), tuple(image.std))


def make_inference(config: ConfigDict) -> Inference:
    """Returns how images are shown to the network when it is scored."""
    fields = config.eval
    return Inference(
        pad_to=tuple(fields.pad_to),
        window=tuple(fields.window),
        stride=tuple(fields.stride),
        scales=tuple(fields.scales),
        mirror=fields.mirror,
    )
