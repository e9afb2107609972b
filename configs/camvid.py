r"""CamVid street scenes at 180x240, from the half-width ResNet-50.

    sassn prepare --dataset=camvid --source=CAMVID --data_dir=DATA
    sassn train --config=configs/camvid.py:method=sassn,labels=1/32 \
        --config.data_dir=DATA --config.model.weights=resnet50_thin.safetensors \
        --workdir=runs/camvid_sassn

mIoU on the test split, one seed: 0.286 with 11 labelled images, 0.279 without the unlabelled ones;
0.335 and 0.317 with 45 (`labels=1/8`); 0.355 with all labels. 15 minutes on one core of a Xeon;
docs/results.md has the other methods.

`method=fcn8s` and `method=dilation` take VGG-16 and train at the published rates, ten times as
long, so that a GPU is wanted. `--config.model.weights` is a VGG-16 of `sassn import_weights`
then, whose mean colour counts; without one, the latter, which is Dilation8, has that which its
authors give for CamVid.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the config for `method=...,labels=...`."""
    config = common.base_config(argument)
    config.dataset = "camvid"
    config.num_steps = 400
    config.batch_size = 4
    config.crop_size = (120, 160)
    config.log_every = 20
    config.eval_every = 200
    config.checkpoint_every = 100
    config.eval_batch_size = 8

    if common.is_on_vgg(config):
        config.num_steps = 4000
        config.eval_every = 1000
        if config.method == "dilation":
            config.image.mean = (110.70313206, 108.77808759, 105.41212523)
        return config

    config.model.backbone = "resnet50_thin"
    config.model.norm = "frozen"
    config.model.aspp_rates = (6, 12)

    config.image.channel_order = "bgr"
    config.image.mean = (104.0, 117.0, 123.0)
    config.image.std = (57.0, 57.0, 57.0)  # of about unit variance
    config.augment.scale = (0.75, 1.5)

    config.loss.semi_start = 100
    config.loss.lambda_semi = 0.5

    config.optimizer.name = "adamw"
    config.optimizer.lr = 3e-4
    return config
