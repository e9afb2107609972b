"""The fields that every config has, at the values of the paper; and how an argument is read."""

from ml_collections import ConfigDict

ATTENTION = ("layer3", "layer4")
RATES = {"deeplabv2": (6, 12, 18, 24), "deeplabv3": (12, 24, 36)}  # by head
# What a method sets, before the recipe of a dataset has its say.
METHODS: dict[str, dict] = {
    "supervised": {},
    "advsemiseg": {},
    "sa": {"model.attention": ATTENTION},
    "sn": {"model.spectral_norm": True},
    "sassn": {"model.attention": ATTENTION, "model.spectral_norm": True},
    "sa1": {"model.attention": ("layer3",)},
    "sa2": {"model.attention": ("layer4",)},
    "sa1_sn": {"model.attention": ("layer3",), "model.spectral_norm": True},
    "sa2_sn": {"model.attention": ("layer4",), "model.spectral_norm": True},
    # As its code does it: `return` stands in the loop over the head's four branches. Its batch and
    # decay are in configs/voc.py. Not followed: D's labels from a loader of its own, scaled so that
    # nothing has to be filled; and its command line, which neither scales nor mirrors images.
    "advsemiseg_code": {
        "model.aspp_rates": (6, 12),
        "loss.discriminator_fake": "both",
        "loss.adv_from_start": True,
    },
    # As published, but for twice the rate and no decay of biases, and for training in stages.
    "fcn8s": {
        "model.backbone": "vgg16",
        "model.head": "fcn8s",
        "image.channel_order": "bgr",
        "image.mean": (104.00698793, 116.66876762, 122.67891434),
        "augment.scale": (1.0, 1.0),
        "augment.mirror": False,
        # At once: 1e-10 on the loss's sum over an image, of about 200,000 pixels; here on its mean.
        "optimizer.lr": 2e-5,
        "optimizer.momentum": 0.99,
        "optimizer.weight_decay": 2.5e-9,  # 5e-4 beside the gradient of that sum
        "optimizer.new_layer_multiplier": 1.0,
        "optimizer.poly_power": 0.0,
    },
    # As published, but for twice the rate and no decay of biases, and for training in stages.
    "dilation": {
        "model.backbone": "vgg16",
        "model.head": "dilation8",
        "image.channel_order": "bgr",
        "image.mean": (102.93, 111.36, 116.52),
        "augment.scale": (1.0, 1.0),
        "optimizer.lr": 1e-4,  # of the front end, which takes longest
        "optimizer.weight_decay": 5e-4,
        "optimizer.new_layer_multiplier": 1.0,
        "optimizer.poly_power": 0.0,
    },
    "s4gan": {},
    "mittal": {},
    "cutmix": {},
    "unimatch": {},
    "unimatch_sassn": {"model.attention": ATTENTION, "model.spectral_norm": True},
}


def parse_argument(argument: str | None, **defaults: str) -> dict[str, str]:
    """Reads `key=value,key=value`, as in `--config=configs/camvid.py:method=sassn,labels=1/8`."""
    values = dict(defaults)
    for pair in filter(None, (argument or "").split(",")):
        key, _, value = pair.partition("=")
        if key not in defaults or not value:
            allowed = ", ".join(f"{name}=..." for name in defaults)
            raise ValueError(f"config argument {pair!r}: expected {allowed}, separated by commas")
        values[key] = value
    if values["method"] not in METHODS:
        raise ValueError(f"method={values['method']!r}: expected one of {', '.join(METHODS)}")
    return values


def full_size_config(argument: str | None) -> ConfigDict:
    """Returns the paper's VOC recipe, with `method`, `labels` and `backbone` from the argument."""
    values = parse_argument(argument, method="sassn", labels="1/8", backbone="")
    backbone = values.pop("backbone")
    if backbone not in ("", *RATES):
        raise ValueError(f"{backbone=}: expected one of {', '.join(RATES)}")
    config = base_config(",".join(f"{key}={value}" for key, value in values.items()))
    if is_on_vgg(config):
        if backbone:
            raise ValueError(f"{backbone=}: method={config.method} has its own; leave it out")
    elif backbone not in ("", config.model.head):  # whose rates a method may have changed
        config.model.head = backbone
        config.model.aspp_rates = RATES[backbone]
    return config


def is_on_vgg(config: ConfigDict) -> bool:
    """Whether the method of a config sets a VGG-16 for its network."""
    return config.model.backbone == "vgg16"


def base_config(argument: str | None) -> ConfigDict:
    """Returns the paper's VOC recipe, with `method` and `labels` from the argument."""
    values = parse_argument(argument, method="sassn", labels="1/8")
    config = ConfigDict()
    config.seed = 0
    config.num_steps = 20_000
    config.batch_size = 8  # labelled images a step; as many unlabelled ones from semi_start on
    config.accumulation = 1  # pieces of a batch that G takes in turn, where memory is short
    config.crop_size = (321, 321)  # height, width in pixels
    config.log_every = 100
    config.eval_every = 1000
    config.checkpoint_every = 1000
    config.loader_workers = 0  # processes that prepare batches; 0 uses threads of this one
    config.eval_batch_size = 8
    config.dataset = ""
    config.data_dir = ""
    config.method = values["method"]
    config.labels = values["labels"]  # a fraction, or a file of ids
    config.unlabeled = "rest"  # images used without labels: the rest; or all, labelled ones too

    config.model = ConfigDict()
    config.model.backbone = "resnet101"
    config.model.head = "deeplabv2"
    config.model.attention = ()  # where position attention stands, a subset of ATTENTION
    config.model.spectral_norm = False
    config.model.aspp_rates = RATES["deeplabv2"]
    config.model.qk_reduction = 8
    config.model.norm = "batch_frozen_affine"
    config.model.layout = "caffe"  # or torchvision: how the weights' network was built
    config.model.dtype = "float32"  # of the networks' computation; or bfloat16
    config.model.remat = False  # whether to keep less of the trunk for the backward pass
    config.model.auxiliary_head = False  # a second head on stage 3, as torchvision trains
    config.model.weights = ""  # file to start from, which sets layout and image

    config.image = ConfigDict()  # what the backbone expects; a file of weights brings its own
    config.image.channel_order = "rgb"
    config.image.mean = (122.67891434, 116.66876762, 104.00698793)
    config.image.std = (1.0, 1.0, 1.0)

    config.augment = ConfigDict()
    config.augment.scale = (0.5, 1.5)
    config.augment.mirror = True

    config.eval = ConfigDict()  # how images are shown to the network when it is scored
    config.eval.pad_to = ()  # height, width that smaller images are padded to, in pixels
    config.eval.window = ()  # height, width of sliding windows; () takes the whole image at once
    config.eval.stride = ()  # from one window to the next, down and across
    config.eval.scales = (1.0,)
    config.eval.mirror = False

    config.loss = ConfigDict()
    config.loss.lambda_adv_labeled = 0.01
    config.loss.lambda_adv_unlabeled = 0.001
    config.loss.lambda_semi = 0.1
    config.loss.semi_threshold = 0.2
    config.loss.semi_start = 5000
    config.loss.adv_from_start = False  # whether only self-training waits for semi_start
    config.loss.discriminator_fake = "labeled"
    config.loss.exclude_filled = False  # whether the losses leave out what fills unlabelled crops

    config.s4gan = ConfigDict()  # Mittal et al.'s, of `s4gan` and `mittal`
    config.s4gan.lambda_feature_matching = 0.1
    config.s4gan.lambda_self_training = 1.0
    config.s4gan.threshold = 0.6  # D's score above which an image teaches G; Cityscapes: 0.7

    config.classifier = ConfigDict()  # of `mittal`, as published
    config.classifier.lr = 3e-2  # for 16 + 80 images a step; in proportion for 2 * batch_size
    config.classifier.final_lr = 1e-4  # at the end of a cosine; in proportion too
    config.classifier.weight_decay = 1e-5
    config.classifier.ema = 0.999  # of the teacher
    config.classifier.consistency = 1.0  # weight of the distance from the teacher
    config.classifier.burn_in = 0.1  # share of the run without it: 10 of 100 epochs
    config.classifier.ramp = 0.5  # share in which it grows: 50 epochs
    config.classifier.threshold = 0.2  # probability below which a class is taken not to occur

    config.cutmix = ConfigDict()  # as French et al. publish it
    config.cutmix.ema_decay = 0.99  # how much of the teacher is left after a step
    config.cutmix.lambda_consistency = 1.0
    config.cutmix.threshold = 0.97  # probability from which the teacher counts as confident

    config.unimatch = ConfigDict()  # as UniMatch's code has it for VOC
    config.unimatch.threshold = 0.95  # probability from which a pixel teaches
    config.unimatch.lambda_strong = 0.25  # of each of two strong views
    config.unimatch.lambda_features = 0.5  # of the weak view with half of its features dropped

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # or adam, adamw
    config.optimizer.lr = 2.5e-4
    config.optimizer.lr_batch_size = 0  # that lr is meant for, to scale it with batch_size; 0: any
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 1e-4
    config.optimizer.new_layer_multiplier = 10.0
    config.optimizer.poly_power = 0.9  # 0: the learning rate stays as it is
    config.optimizer.discriminator_lr = 1e-4
    config.optimizer.discriminator_betas = (0.9, 0.99)

    config.update_from_flattened_dict(METHODS[config.method])
    return config
