"""What a run's config may say."""

import pytest

from sassn_jax.errors import InputError
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import tiny_config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", "gan", "method='gan': expected one of supervised, advsemiseg, sa, sn, sassn"),
        ("labels", "0", "labels='0': expected a fraction"),
        ("labels", "9/8", "labels='9/8': expected a fraction"),
        ("labels", "no_such_file.txt", "labels='no_such_file.txt': expected a fraction"),
        ("crop_size", (16, 320), "crop_size=.*each from 32 pixels"),
        ("dataset", "imagenet", "dataset='imagenet': expected one of"),
        ("batch_size", 0, "batch_size=0: expected a whole number of at least 1"),
        ("model.backbone", "vgg", "model.backbone='vgg': expected one of resnet101"),
        ("model.attention", ("layer5",), "model.attention=.*layer5"),
        ("model.norm", "group", "model.norm='group'"),
        ("model.dtype", "float16", "model.dtype='float16': expected one of float32, bfloat16"),
        ("accumulation", 3, "accumulation=3: expected a whole number that divides batch_size="),
        ("model.head", "unet", "model.head='unet': expected one of deeplabv2, deeplabv3"),
        ("model.layout", "keras", "model.layout='keras': expected one of caffe, torchvision"),
        ("model.weights", "no_such.safetensors", "no_such.safetensors"),
        ("model.weights", "no_such.npz", "no_such.npz"),
        ("loss.discriminator_fake", "none", "loss.discriminator_fake='none'"),
        ("loss.exclude_filled", None, "loss.exclude_filled=None: expected True or False"),
        ("optimizer.name", "lion", "optimizer.name='lion'"),
        ("optimizer.lr", float("inf"), "optimizer.lr=inf: expected a number above 0"),
        ("optimizer.discriminator_betas", (0.9,), "optimizer.discriminator_betas="),
        ("loss.lambda_semi", -0.1, "loss.lambda_semi=-0.1: expected a number of at least 0"),
        ("loss.semi_threshold", 7.0, "loss.semi_threshold=7.0: expected a number from 0 to 1"),
        ("cutmix.ema_decay", 1.0, "cutmix.ema_decay=1.0: expected a number of at least 0 and bel"),
        ("cutmix.threshold", 1.5, "cutmix.threshold=1.5: expected a number from 0 to 1"),
        ("unimatch.threshold", -1.0, "unimatch.threshold=-1.0: expected a number from 0 to 1"),
        ("unimatch.lambda_strong", -1.0, "unimatch.lambda_strong=-1.0: expected a number of at"),
        ("eval.pad_to", (2**31, 1), r"eval.pad_to=.*at most 134,217,728 pixels in all"),
        ("crop_size", (33, 2**31), r"crop_size=.*each from 32 pixels, .* to 8192"),
        ("eval.pad_to", (505,), r"eval.pad_to=.*\(\), or height and width, each at least 1 pixel"),
        ("eval.window", (0, 3), r"eval.window=\(0, 3\): expected \(\), or height and width"),
        ("eval.stride", (3, 3), r"eval.stride=\(3, 3\): expected .*; \(\) without windows"),
        ("eval.scales", (1.0, 0.0), "eval.scales=.*at least one factor, each above 0"),
        ("eval.scales", (), "eval.scales=.*at least one factor"),
        ("image.std", (1.0, 0.0, 1.0), "image.std=.*three numbers above 0"),
        ("seed", 2**32, "seed=4294967296: expected .* below 2\\^32"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_written(workdir, field, value, message):
    config = tiny_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message) as caught:
        train_and_evaluate(config, workdir)
    assert "\n" not in str(caught.value)
    assert not workdir.exists()
