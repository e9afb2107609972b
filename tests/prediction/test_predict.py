"""Prediction in Python: kinds of images, results against the network itself, and its memory."""

import io
import tracemalloc
import weakref

import jax
import numpy as np
import pytest
from PIL import Image

from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.errors import InputError
from sassn_jax.inference import Inference, row_bands
from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.predicting import Predictor
from sassn_jax.prediction.result import Prediction, heat_map
from sassn_jax.prediction.run import load_run

CLASSES = 4
PALETTE = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
INFO = DatasetInfo("toy", ("sky", "road", "tree", "car"), PALETTE)
SCORES = np.random.default_rng(0).normal(size=(3, CLASSES)).astype(np.float32)


def photo(height=40, width=56, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def network(variables, images):
    """Sees the mean of its whole window too, so that other windows give other results."""
    means = images.mean((1, 2), keepdims=True)
    return jax.nn.softmax((images - 0.9 * means) @ SCORES / 30)


def predictor(inference=Inference(), predict=network, **options):  # noqa: B008
    fields = {"window": (16, 16), "batch_size": 3, **options}
    return Predictor(jax.jit(predict), None, INFO, Normalize(), inference, **fields)


def test_the_result_is_the_networks_own(run):
    image = photo()
    result = run.predict(image)
    expected = run.method.predict(run.variables, jax.device_put(run.config.image(image)[None]))[0]
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    assert result.probabilities.dtype == np.float32
    np.testing.assert_array_equal(result.ids, result.probabilities.argmax(-1))
    np.testing.assert_array_equal(result.certainty, result.probabilities.max(-1))
    np.testing.assert_array_equal(result.image, image)
    assert result.classes == run.info.class_names
    np.testing.assert_array_equal(result.palette, run.info.palette)


def test_a_path_a_pil_image_and_arrays_are_the_same_image(run, tmp_path):
    image = photo()
    path = tmp_path / "a photo.PNG"
    Image.fromarray(image).save(path)
    expected = run.predict(image).ids
    for same in (path, str(path), Image.fromarray(image)):
        np.testing.assert_array_equal(run.predict(same).ids, expected)


def test_grey_and_transparent_images(run):
    grey = photo()[..., 0]
    np.testing.assert_array_equal(run.predict(grey).image, np.repeat(grey[..., None], 3, -1))
    alpha = np.zeros((40, 56, 1), np.uint8)
    alpha[:, :20] = 255
    shown = run.predict(np.concatenate([photo(), alpha], -1)).image
    np.testing.assert_array_equal(shown[:, :20], photo()[:, :20])
    assert (shown[:, 20:] == 255).all()


def test_a_turned_photo_is_predicted_as_it_is_shown(run):
    image, file = photo(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees to the left
    Image.fromarray(np.rot90(image)).save(file, "PNG", exif=exif)
    result = run.predict(Image.open(file))
    np.testing.assert_array_equal(result.image, image)
    np.testing.assert_array_equal(result.ids, run.predict(image).ids)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((8,), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
    ids=lambda x: str(x.shape),
)
def test_anything_else_is_one_clear_error(run, wrong):
    with pytest.raises(InputError, match=r"^image: expected a path, a PIL image, or uint8 "):
        run.predict(wrong)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.png", None, "no such file"),
        ("a.png", b"", r"cannot be read as an image \(the file is empty\)"),
        ("a.txt", b"text", r"\(not a JPEG, PNG, WEBP, TIFF or BMP file\)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(run, tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: .*{reason}"):
        run.predict(path)


def test_the_ending_of_a_photo_may_be_wrong_as_in_training(run, tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(run.predict(tmp_path / "a.jpg").image, photo())


def test_a_list_gives_a_list(run):
    images = [photo(40, 56, 1), photo(40, 56, 2), photo(33, 64, 3)]
    results = run.predict(images)
    for image, result in zip(images, results, strict=True):
        np.testing.assert_allclose(
            result.probabilities, run.predict(image).probabilities, atol=1e-6
        )
    assert run.predict([]) == []


def test_confidence_is_that_of_d(run, trained, tmp_path):
    result = run.predict(photo(), confidence=True)
    expected = run.method.confidence(run.state, jax.device_put(result.probabilities[None]))[0]
    np.testing.assert_allclose(result.confidence, expected, atol=1e-6)
    assert run.predict(photo()).confidence is None
    export_run(trained, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="exported file holds no discriminator"):
        load_run(tmp_path / "model.safetensors").predict(photo(), confidence=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"window": (16, 12), "stride": (11, 8)},
        {"window": (16, 16), "stride": (16, 16)},
        {"window": (16, 12), "stride": (5, 8), "mirror": True},
        {"window": (16, 12), "stride": (11, 8), "pad_to": (50, 90)},
    ],
    ids=str,
)
@pytest.mark.parametrize("height", [16, 61, 100])
def test_bands_of_rows_give_what_the_whole_gives(fields, height):
    """With memory for a few rows, for one row of windows, and for the whole image."""
    image, inference = photo(height, 70), Inference(**fields)
    (whole,) = predictor(inference).stream([image])
    for rows in (5, 40):
        few = predictor(inference, max_memory=rows / 2**30 * 2 * 70 * (4 * CLASSES * 6 + 48))
        (result,) = few.stream([image])
        np.testing.assert_array_equal(result.ids, whole.ids)
        np.testing.assert_allclose(result.certainty, whole.certainty, atol=1e-6)


def test_bands_are_low_and_cover_each_row_once():
    inference = Inference(window=(16, 12), stride=(11, 8))
    for height, rows in [(100, 5), (100, 40), (301, 64), (27, 30)]:
        bands = row_bands(height, inference, rows)
        covered = [row for band in bands for row in range(band.first, band.last)]
        assert covered == list(range(height))
        assert all(0 <= x.top <= x.first and x.last <= x.bottom <= height for x in bands)
        assert max(x.bottom - x.top for x in bands) <= max(rows, 3 * 16)


def test_probabilities_that_take_too_much_are_not_kept():
    inference = Inference(window=(16, 16), stride=(11, 11))
    size = 4 * CLASSES * 100 * 70 / 2**30
    (kept,) = predictor(inference, max_memory=4.1 * size).stream([photo(100, 70)])
    (whole,) = predictor(inference).stream([photo(100, 70)])
    np.testing.assert_allclose(kept.probabilities, whole.probabilities, atol=1e-6)
    (result,) = predictor(inference, max_memory=3.9 * size).stream([photo(100, 70)])
    np.testing.assert_array_equal(result.ids, kept.ids)
    with pytest.raises(InputError, match=r"^probabilities: those of 70x100 pixels and 4 classes"):
        _ = result.probabilities


def test_a_photo_too_large_to_be_shown_at_once_is_shown_by_windows():
    image = photo(50, 60)
    (by_windows,) = predictor(Inference(window=(16, 16), stride=(11, 11))).stream([image])
    (result,) = predictor(max_memory=0.001).stream([image])  # of 0.002 GiB
    np.testing.assert_array_equal(result.ids, by_windows.ids)
    with pytest.raises(InputError, match=r"^eval.scales=.* takes more than max_memory=0.0001"):
        list(predictor(Inference(scales=(0.5, 1.0)), max_memory=0.0001).stream([image]))
    with pytest.raises(InputError, match=r"^max_memory=0: expected a number of GiB above 0"):
        predictor(max_memory=0)


@pytest.mark.parametrize("fields", [{}, {"window": (16, 16), "stride": (11, 11)}], ids=str)
def test_a_stream_keeps_at_most_two_batches(fields):
    alive, most = weakref.WeakSet(), 0

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

    def read():
        nonlocal most
        for seed in range(20):
            image = photo(24, 24, seed).view(Tracked)
            alive.add(image)
            most = max(most, len(alive))
            yield image
            del image

    stream, done = predictor(Inference(**fields)).stream(read()), 0
    for result in stream:
        np.testing.assert_array_equal(result.image, photo(24, 24, done))
        done += 1
        del result
    assert done == 20
    assert most == (2 if fields else 6)


def test_a_large_image_has_the_memory_to_itself():
    """The network sees no window of the next image before the one before is finished."""
    inference = Inference(window=(16, 16), stride=(11, 11))
    waiting, most = 0, 0

    def note(variables, images):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return network(variables, images)

    few = {"max_memory": 40 / 2**30 * 2 * 70 * (4 * CLASSES * 2 + 48), "batch_size": 1000}
    stream = Predictor(note, None, INFO, Normalize(), inference, (16, 16), **few).stream(
        photo(100, 70, seed) for seed in range(3)
    )
    bands = len(row_bands(100, inference, 40))
    assert bands > 1
    calls = []
    for _ in stream:
        calls.append(waiting)
        waiting = 0
    assert len(set(calls)) == 1
    assert most == calls[0]


def test_drawing_a_large_image_takes_little_beyond_the_picture():
    """A picture in Pillow takes 4 bytes a pixel; a copy of all colours would take 3 or more."""
    height, width = 8000, 250
    ids = np.random.default_rng(0).integers(0, CLASSES, (height, width), np.uint8)
    values = ids.astype(np.float32) / CLASSES
    result = Prediction(np.zeros((height, width, 3), np.uint8), ids, values, INFO)
    for draw in (lambda: result.overlay(legend=True), lambda: heat_map(values)):
        tracemalloc.start()  # of NumPy; Pillow's own memory is not counted
        draw()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * height * width


def test_windows_go_to_the_network_in_batches():
    shapes = []

    def note(variables, images):
        shapes.append(images.shape)
        return network(variables, images)

    image, inference = photo(60, 60), Inference(window=(16, 16), stride=(11, 11))
    list(Predictor(note, None, INFO, Normalize(), inference, (16, 16), 8).stream([image]))
    assert shapes == [(8, 16, 16, 3)] * 4  # 5 x 5 windows


def test_overlay_and_its_legend(run):
    result = run.predict(photo())
    np.testing.assert_array_equal(result.overlay(0.0), result.image)
    np.testing.assert_array_equal(result.overlay(1.0), result.palette[result.ids])
    half = (result.image.astype(float) + result.palette[result.ids]) / 2
    np.testing.assert_allclose(np.asarray(result.overlay(0.5), float), half, atol=1)
    with_legend = result.overlay(0.5, legend=True)
    assert with_legend.height > 40
    np.testing.assert_array_equal(np.asarray(with_legend)[:40, :56], result.overlay(0.5))
    below = {tuple(color) for color in np.asarray(with_legend)[40:].reshape(-1, 3).tolist()}
    for id_ in np.unique(result.ids):
        assert tuple(result.palette[id_].tolist()) in below
    with pytest.raises(InputError, match=r"^alpha=2: expected a share"):
        result.overlay(2)


@pytest.mark.parametrize(("width", "height"), [(240, 160), (1600, 1200), (4000, 3000), (60, 500)])
def test_the_legend_grows_with_the_picture(width, height):
    """The letters stay readable in a picture made smaller, and add little to a small one."""
    info = DatasetInfo("any", ("sky", "road", "a long name of a class"), INFO.palette[:3])
    ids = np.arange(width * height, dtype=np.uint32).reshape(height, width) % 3
    result = Prediction(
        np.zeros((height, width, 3), np.uint8),
        ids.astype(np.uint8),
        np.zeros((height, width), np.float32),
        info,
    )
    picture = result.overlay(legend=True)
    assert picture.width == width
    legend = picture.height - height
    assert legend <= max(0.15 * height, 60)
    assert legend >= 0.02 * min(height, width)


def test_a_printed_prediction_is_one_line():
    ids = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 2, 0], [2, 4, 1, 0, 4], [1, 1, 2, 2, 3]], np.uint8)
    info = DatasetInfo("any", ("sky", "road", "car", "dog", "cat"), np.zeros((5, 3), np.uint8))
    result = Prediction(np.zeros((4, 5, 3), np.uint8), ids, ids / np.float32(9), info)
    assert (
        repr(result)
        == str(result)
        == ("Prediction(5x4 pixels, 5 classes: sky 35.0%, road 30.0%, car 20.0%, 2 more)")
    )


def test_saved_ids_are_read_back_as_a_mask(run, tmp_path):
    from sassn_jax.data.masks import read_label

    result = run.predict(photo())
    threshold = float(np.median(result.certainty))
    result.save(tmp_path / "ids.png")
    result.save(tmp_path / "labels.png", threshold=threshold)
    np.testing.assert_array_equal(read_label(tmp_path / "ids.png")[1], result.ids)
    expected = np.where(result.certainty >= threshold, result.ids, 255)
    assert 0 < (expected == 255).sum() < expected.size
    np.testing.assert_array_equal(read_label(tmp_path / "labels.png")[1], expected)
    with Image.open(tmp_path / "labels.png") as image:
        np.testing.assert_array_equal(
            np.asarray(image.convert("RGB"))[expected < 255],
            result.palette[expected[expected < 255]],
        )
    with pytest.raises(InputError, match=r"^path='.*ids.jpg': expected a name that"):
        result.save(tmp_path / "ids.jpg")
    with pytest.raises(InputError, match=r"^threshold=90: expected a probability"):
        result.labels(90)
