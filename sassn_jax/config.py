"""The typed configuration of a run: what each field means, what it may be, and its default.

The defaults are the paper's recipe for VOC 2012, without the networks of any one method. Users
write an `ml_collections.ConfigDict` of the same names, see `sassn_jax.recipes`; a `ConfigDict` or
JSON is turned into a `Config` once.
"""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from sassn_jax.conversion.conventions import CAFFE_TRUNK, weights_suffixes
from sassn_jax.data import FileLimits, Normalize
from sassn_jax.data.limits import LIMITS
from sassn_jax.errors import InputError
from sassn_jax.fields import (
    Checked,
    Count,
    Decay,
    NotNegative,
    Positive,
    Probability,
    Rule,
    Switch,
    Whole,
    check_rule,
    one_of,
    whole_numbers,
)
from sassn_jax.inference import Inference
from sassn_jax.models.discriminator import MINIMUM_SIZE
from sassn_jax.models.generator import Generator
from sassn_jax.models.networks import SegmentationNetwork, create_network, smallest_batch
from sassn_jax.optimizers import OPTIMIZERS
from sassn_jax.weights import npz, store

LARGEST_CROP = 8192  # pixels a side: far more than a GPU holds, and less than would fill a computer


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
    """The networks.

    Attributes:
      backbone: a name in `BACKBONES`.
      head: a name in `heads_on(backbone)`.
      attention: where position attention stands, a subset of `ATTENTION_SITES`; () on a VGG.
      attention_implementation: a name in `IMPLEMENTATIONS` of `position_attention`; empty for the
        fastest that the device can run.
      spectral_norm: whether all of D's convolutions are spectrally normalized.
      aspp_rates: dilations of the head's convolutions, in pixels of the feature map.
      qk_reduction: how many times fewer channels queries and keys have than the features.
      norm: of the trunk, a name in `NORMS`.
      layout: the convention by which the trunk is built, a name in `LAYOUTS`; that of its weights.
      dtype: of the networks' computation, `float32` or `bfloat16`; parameters, statistics and
        logits are float32.
      remat: whether the backward pass computes the trunk's blocks anew, which saves memory.
      auxiliary_head: whether a second head on stage 3 is trained, as torchvision does.
      weights: the file that training starts from, empty for random numbers. The file says which
        layout and which images its network takes.
    """

    backbone: str = Generator.backbone
    head: str = Generator.head
    attention: tuple[str, ...] = ()
    attention_implementation: str = ""
    spectral_norm: Switch = False
    aspp_rates: tuple[int, ...] = Generator.aspp_rates
    qk_reduction: Count = Generator.qk_reduction
    norm: str = Generator.norm
    layout: str = Generator.layout
    dtype: Annotated[str, one_of(("float32", "bfloat16"))] = "float32"
    remat: Switch = Generator.remat
    auxiliary_head: Switch = Generator.auxiliary_head
    weights: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = Rule(
            lambda x: len(x) > 0 and whole_numbers(x, 1),
            "at least one dilation, each a whole number of at least 1",
        )
        check_rule("aspp_rates", self.aspp_rates, rates)
        suffixes = weights_suffixes(self.backbone)
        expected = f"a {store.SUFFIX} file of `sassn import_weights` or `sassn export`"
        if npz.SUFFIX in suffixes:
            expected += f", or a {npz.SUFFIX} file with batch norm fused"
        elif Path(self.weights).suffix == npz.SUFFIX:
            expected += (
                f"; a {npz.SUFFIX} file is for model.backbone={CAFFE_TRUNK}, and the backbone is "
                f"{self.backbone}"
            )
        check_rule(
            "weights", self.weights, Rule(lambda x: x == "" or Path(x).suffix in suffixes, expected)
        )
        self.create_network(num_classes=1)  # which checks its own arguments

    def create_network(self, num_classes: int) -> SegmentationNetwork:
        """Returns the segmentation network."""
        return create_network(
            num_classes=num_classes,
            backbone=self.backbone,
            head=self.head,
            attention=self.attention,
            attention_implementation=self.attention_implementation or None,
            aspp_rates=self.aspp_rates,
            auxiliary_head=self.auxiliary_head,
            qk_reduction=self.qk_reduction,
            norm=self.norm,
            layout=self.layout,
            dtype=self.dtype,
            remat=self.remat,
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Checked):
    """The optimizers of G and of D.

    Attributes:
      name: of G's, a name in `OPTIMIZERS`.
      lr: learning rate of the trunk at step 0.
      lr_batch_size: the batch size that `lr` is meant for; `lr` is scaled in proportion to the
        run's batch size (Goyal et al. 2017, section 2.1). 0 leaves it as it is.
      momentum: of SGD.
      weight_decay: on everything that G trains but the attention's alpha.
      new_layer_multiplier: factor of the learning rate for head and attention.
      poly_power: of the schedule of both players, see `poly_schedule`; 0 keeps the rates constant.
      discriminator_lr: learning rate of D at step 0.
      discriminator_betas: of D's Adam.
    """

    name: Annotated[str, one_of(OPTIMIZERS)] = "sgd"
    lr: Positive = 2.5e-4
    lr_batch_size: Whole = 0
    momentum: Decay = 0.9
    weight_decay: NotNegative = 1e-4
    new_layer_multiplier: Positive = 10.0
    poly_power: NotNegative = 0.9
    discriminator_lr: Positive = 1e-4
    discriminator_betas: Annotated[
        tuple[float, float],
        Rule(
            lambda x: len(x) == 2 and all(0 <= beta < 1 for beta in x),
            "two numbers of at least 0 and below 1",
        ),
    ] = (0.9, 0.99)


@dataclasses.dataclass(frozen=True)
class ParallelConfig(Checked):
    """How a run is shared by several devices.

    Attributes:
      shard_params: whether each device keeps its share of the parameters, of the optimizers' states
        and of a teacher, in place of all of them. It saves memory, and the devices send each other
        the parameters in every step.
    """

    shard_params: Switch = False


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Checked):
    """Random changes of the training images.

    Attributes:
      scale: the smallest and the largest factor by which an image is scaled.
      mirror: whether half of the images are mirrored left to right.
      paste: the share of labelled images onto which the rare classes of another one are pasted.
    """

    scale: Annotated[
        tuple[float, float],
        Rule(
            lambda x: len(x) == 2 and 0 < x[0] <= x[1] < math.inf, "two factors, the smaller first"
        ),
    ] = (0.5, 1.5)
    mirror: Switch = True
    paste: Probability = 0.0


class Settings(Checked):
    """The base of a method's own group of fields.

    Attributes:
      GROUP: the name of the group in a config: `loss` in `config.loss.lambda_semi`.
    """

    GROUP: ClassVar[str]


S = TypeVar("S", bound=Settings)
VOC_IMAGE = Normalize(mean=(122.67891434, 116.66876762, 104.00698793))  # AdvSemiSeg's
WHOLE_IMAGES = Inference()


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """All that a run is made of.

    Attributes:
      method: a name in `sassn_jax.methods.METHODS`. It chooses what is learned. The networks and
        weights that go with such a name, as attention with `sassn`, are set by `default_config`.
      dataset: a name that `sassn_jax.data.load` knows.
      source: a folder of your own images and masks, with `dataset="folder"`. It is prepared in
        `data_dir` before the run, and again when its files have changed. Empty if it is prepared.
      data_dir: the folder that `sassn prepare` put it into; generated data need none. Empty with
        `source`: the folder `.sassn` in it.
      files: limits on the files of the dataset, and on photos that are predicted.
      labels: the share of the training images whose masks are used, such as `1/8`; or a file of
        their ids.
      unlabeled: images that are used without their masks: the `rest`, or `all` of them.
      seed: of everything random.
      num_steps: training steps.
      batch_size: labelled images in a step; the step takes as many unlabelled ones.
      accumulation: pieces that a network takes a batch in, one after the other, to save memory.
      crop_size: height and width of a training image, pixels.
      log_every: steps between two lines of `metrics.jsonl`; a tenth of the run where that is less.
      eval_every: steps between two evaluations on the validation split.
      checkpoint_every: steps between two checkpoints.
      keep: latest checkpoints that are kept, besides the best one and the last healthy one.
      eval_batch_size: images, or windows, that are predicted at once.
      loader_workers: processes that prepare batches; 0 takes threads of this one.
      max_unreadable: the share of the labelled, the unlabelled and the validation images that may
        turn out to be unreadable. They are skipped; past it the run stops, with 0 at the first one.
      profile: (start, steps): a trace of so many steps, for TensorBoard or Perfetto, is taken once
        `start` steps are done. () takes none.
      debug_nans: whether the first skipped update ends the run, with the operation that gave NaN.
        The run waits for each step, and keeps a copy of the state.
      model: the networks.
      image: what the network expects of an image. A file of weights brings its own.
      augment: random changes of the training images.
      eval: how images are shown to the network when it is scored.
      optimizer: the optimizers.
      parallel: how several devices share the run.
      settings: groups of the methods, at most one of each type; an absent one has its defaults.
    """

    method: str = "sassn"
    dataset: str = ""
    source: str = ""
    data_dir: str = ""
    files: FileLimits = LIMITS
    labels: str = "1/8"
    unlabeled: Annotated[str, one_of(("rest", "all"))] = "rest"
    seed: Annotated[
        int,
        Rule(
            lambda x: whole_numbers([x], 0) and x < 2**32,
            "a whole number of at least 0 and below 2^32",
        ),
    ] = 0
    num_steps: Count = 20_000
    batch_size: Count = 8
    accumulation: Count = 1
    crop_size: Annotated[
        tuple[int, int],
        Rule(
            lambda x: len(x) == 2 and whole_numbers(x, MINIMUM_SIZE) and max(x) <= LARGEST_CROP,
            f"height and width, each from {MINIMUM_SIZE} pixels, below which D has no output, to "
            f"{LARGEST_CROP}",
        ),
    ] = (321, 321)
    log_every: Count = 100
    eval_every: Count = 1000
    checkpoint_every: Count = 1000
    keep: Count = 2
    eval_batch_size: Count = 8
    loader_workers: Whole = 0
    max_unreadable: Annotated[
        float, Rule(lambda x: 0 <= x < 1, "a share of at least 0 and below 1")
    ] = 0.01
    profile: Annotated[
        tuple[int, ...],
        Rule(
            lambda x: len(x) in (0, 2) and whole_numbers(x[:1], 0) and whole_numbers(x[1:], 1),
            "(), or the steps that are done before the trace and those in it, such as (10, 5)",
        ),
    ] = ()
    debug_nans: Switch = False
    model: ModelConfig = ModelConfig()
    image: Normalize = VOC_IMAGE
    augment: AugmentConfig = AugmentConfig()
    eval: Inference = WHOLE_IMAGES
    optimizer: OptimizerConfig = OptimizerConfig()
    parallel: ParallelConfig = ParallelConfig()
    settings: Annotated[
        tuple[Settings, ...],
        Rule(lambda x: all(isinstance(group, Settings) for group in x), "groups of settings"),
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [group.GROUP for group in self.settings]
        if len(set(names)) < len(names):
            raise InputError(f"settings of {', '.join(names)}: expected at most one of each")
        least, pieces = smallest_batch(self.model.head), self.accumulation
        why = f"images, since model.head={self.model.head!r} normalizes its image pooling over them"
        if self.batch_size < least:
            raise InputError(f"batch_size={self.batch_size}: expected at least {least} {why}")
        if self.batch_size % pieces or self.batch_size // pieces < least:
            share = f" into pieces of at least {least} {why}" if least > 1 else ""
            raise InputError(
                f"accumulation={pieces}: expected a whole number that divides "
                f"batch_size={self.batch_size}{share}"
            )
        if self.profile and sum(self.profile) > self.num_steps:
            raise InputError(
                f"profile={self.profile}: expected steps within num_steps={self.num_steps}"
            )

    def settings_of(self, kind: type[S]) -> S:
        """Returns a method's group of fields."""
        return next((group for group in self.settings if isinstance(group, kind)), kind())

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as plain values, each group of a method under its name."""
        fields = dataclasses.asdict(self)
        del fields["settings"]
        groups: Iterable[Any] = self.settings
        return {**fields, **{group.GROUP: dataclasses.asdict(group) for group in groups}}

    @property
    def learning_rate(self) -> float:
        """G's at step 0, see `OptimizerConfig`."""
        optimizer = self.optimizer
        if not optimizer.lr_batch_size:
            return optimizer.lr
        return optimizer.lr * self.batch_size / optimizer.lr_batch_size
