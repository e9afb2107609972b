"""Prediction of files: what is written, what is skipped, what fails, and masks to train from."""

import dataclasses
import os
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import sassn_jax
from sassn_jax.data.masks import read_label
from sassn_jax.errors import InputError
from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.files import SETTINGS, predict_files
from sassn_jax.prediction.finding import find_files
from sassn_jax.prediction.outputs import Outputs
from sassn_jax.prediction.run import load_run

SHAPE = (40, 56, 3)
NAMES = ("x.png", "y.JPEG", "ü.bmp")


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, of which one lies deeper, and things that are no photos."""
    folder = tmp_path / "photos"
    (folder / "a b").mkdir(parents=True)
    Image.fromarray(photo(0)).save(folder / "x.png")
    Image.fromarray(photo(1)).save(folder / "y.JPEG")
    Image.fromarray(photo(2)).save(folder / "a b" / "ü.bmp")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def predict(run, source, output, **options):
    outputs = Outputs(**options)
    return predict_files(run, find_files(source, output), output, outputs)


def names(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != SETTINGS)
    return sorted(str(path.relative_to(folder)) for path in paths)


def make_older(folder):
    """Moves all files of a folder into the past, as if what follows came a day later."""
    for path in folder.rglob("*"):
        os.utime(path, (path.stat().st_mtime - 86400,) * 2)


def test_writes_ids_under_the_same_names(run, photos, tmp_path):
    output = tmp_path / "new" / "out"
    outcome = predict(run, photos, output)
    assert (outcome.predicted, outcome.skipped, outcome.failed) == (3, 0, [])
    assert names(output) == ["a b/ü.png", "x.png", "y.png"]
    for source, name in [("x.png", "x.png"), ("y.JPEG", "y.png"), ("a b/ü.bmp", "a b/ü.png")]:
        result = run.predict(photos / source)
        np.testing.assert_array_equal(read_label(output / name)[1], result.ids)
        with Image.open(output / name) as image:
            colors = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(colors, result.palette[result.ids])


def test_every_way_to_predict_gives_the_same_pixels(run, trained, photos, tmp_path):
    """The command, and `sassn_jax.load` with a path, a picture, an array, and all in a batch."""
    export_run(trained, tmp_path / "model.safetensors")
    predict(run, photos, tmp_path / "out")
    for network in (trained, tmp_path / "model.safetensors"):
        model = sassn_jax.load(network)
        paths = [photos / "x.png", photos / "y.JPEG", photos / "a b" / "ü.bmp"]
        for path, batched in zip(paths, model.predict(paths), strict=True):
            name = path.relative_to(photos).with_suffix(".png")
            expected = read_label(tmp_path / "out" / name)[1]
            with Image.open(path) as picture:
                array = np.asarray(picture)
                results = [batched, *map(model.predict, (path, picture, array))]
            for result in results:
                np.testing.assert_array_equal(result.ids, expected)


def test_writes_all_that_is_wanted(run, photos, tmp_path):
    output = tmp_path / "out"
    predict(run, photos / "x.png", output, overlays=True, probabilities=True, confidence=True)
    assert names(output) == [
        "confidence/x.png", "overlays/x.png", "probabilities/x.npz", "x.png"
    ]  # fmt: skip
    result = run.predict(photos / "x.png", confidence=True)
    with np.load(output / "probabilities" / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["probabilities"], result.probabilities)
    with Image.open(output / "overlays" / "x.png") as image:
        np.testing.assert_array_equal(image, result.overlay(legend=True))
    with Image.open(output / "confidence" / "x.png") as image:
        colors = np.asarray(image, int)
    height, width = result.ids.shape
    assert colors.shape[1] == width
    scale = set(map(tuple, colors[height:].reshape(-1, 3).tolist()))
    assert {(255, 0, 0), (0, 0, 255)} <= scale
    colors = colors[:height]
    red, blue = colors[..., 0], colors[..., 2]
    assert ((red >= blue) == (result.confidence >= 0.5)).mean() > 0.99


def test_goes_on_where_it_was_stopped(run, photos, tmp_path, monkeypatch):
    output, write = tmp_path / "out", Outputs.write
    seen = []

    def stop_at_second(self, output, name, result):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(name)
        write(self, output, name, result)

    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            predict(run, photos, output)
    assert len(names(output)) == 1
    outcome = predict(run, photos, output)
    assert (outcome.predicted, outcome.skipped) == (2, 1)
    outcome = predict(run, photos, output)
    assert (outcome.predicted, outcome.skipped) == (0, 3)
    later = (output / "x.png").stat().st_mtime + 5
    os.utime(photos / "x.png", (later, later))
    assert predict(run, photos, output).predicted == 1
    assert predict(run, photos, output, overlays=True).predicted == 3  # not there yet


def test_predicts_anew_with_other_settings(run, trained, photos, tmp_path):
    """What depends on the settings is never left from others, also if that was stopped."""
    output, notes = tmp_path / "out", []

    def call(run, source=photos, **options):
        notes.clear()
        files = find_files(source, output)
        outcome = predict_files(run, files, output, Outputs(**options), on_note=notes.append)
        make_older(output)
        return outcome.predicted, outcome.skipped

    make_older(photos)
    make_older(photos)
    assert call(run) == (3, 0)
    threshold = float(np.median(run.predict(photos / "x.png").certainty))
    assert call(run, photos / "x.png", threshold=threshold) == (1, 0)
    assert notes == [
        f"{output}: predicted before with other settings (threshold); the files that are chosen "
        "now are predicted anew"
    ]
    assert call(run, threshold=threshold) == (2, 1)  # those that were not chosen then
    assert not notes
    expected = run.predict(photos / "y.JPEG").labels(threshold)
    np.testing.assert_array_equal(read_label(output / "y.png")[1], expected)
    assert call(load_run(trained, overrides={"eval.mirror": True}), threshold=threshold) == (3, 0)
    assert "(eval)" in notes[0]
    changed = jax.tree.map(lambda array: array + 1, run.variables)
    assert call(dataclasses.replace(run, variables=changed)) == (3, 0)
    assert "(network, eval, threshold)" in notes[0]
    assert call(run) == (3, 0)
    export_run(trained, tmp_path / "model.safetensors")
    assert call(load_run(tmp_path / "model.safetensors")) == (0, 3)  # the same network


def test_files_of_other_programs_are_not_replaced(run, photos, tmp_path):
    (tmp_path / "labels").mkdir()
    mask = tmp_path / "labels" / "x.png"
    mask.write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match=f"^{mask}: is there without .*; choose another folder"):
        predict(run, photos, tmp_path / "labels")
    assert mask.read_bytes() == b"drawn by hand"
    assert predict(run, photos, tmp_path / "labels", as_labels=True).predicted == 2
    mask.with_name(SETTINGS).write_text("no JSON")
    with pytest.raises(InputError, match=f"{SETTINGS}: not the settings of a prediction"):
        predict(run, photos, tmp_path / "labels")


def test_probabilities_that_do_not_fit_are_refused_before_the_work(run, photos, tmp_path):
    Image.fromarray(np.zeros((400, 560, 3), np.uint8)).save(photos / "large.png")
    memory = 4 * 4 * run.info.num_classes * 400 * 500 / 2**30
    outputs, output = Outputs(probabilities=True), tmp_path / "out"
    outcome = predict_files(run, find_files(photos, output), output, outputs, max_memory=memory)
    (line,) = outcome.failed
    assert line.startswith(f"{photos / 'large.png'}: max_memory={memory}: too little for the prob")
    assert "large" not in "".join(names(output))
    assert len(names(output)) == 6


def test_a_broken_file_is_named_and_the_rest_goes_on(run, photos, tmp_path):
    (photos / "broken.png").write_bytes((photos / "x.png").read_bytes()[:400])
    (photos / "empty.jpg").write_bytes(b"")
    Image.fromarray(photo(3)).save(photos / "x.jpg")  # its result would be x.png, too
    told = []
    output = tmp_path / "out"
    outcome = predict_files(
        run, find_files(photos, output), output, on_file=lambda *counts: told.append(counts)
    )
    assert outcome.predicted == 3
    assert len(outcome.failed) == 3
    for line, name in zip(
        sorted(outcome.failed), ["broken.png", "empty.jpg", "x.png"], strict=True
    ):
        assert line.startswith(f"{photos / name}: ")
        assert "\n" not in line
    assert told[-1] == (6, 6)


def test_finds_photos_by_pattern(run, photos, tmp_path):
    output = tmp_path / "out"
    assert [str(x) for _, x in find_files(photos / "*.png", output)] == ["x.png"]
    deep = [str(x) for _, x in find_files(f"{photos}/**/*.*", output)]
    assert deep == ["a b/ü.bmp", "x.png", "y.JPEG"]
    predict(run, photos, photos / "out")
    assert len(find_files(photos, photos / "out")) == 3  # not its own results
    for wrong in (tmp_path / "none", photos / "*.gif", photos / "notes.txt" / "*"):
        with pytest.raises(InputError, match=r"^input='.*': no photo or video there; expected"):
            find_files(wrong, output)
    for same in (photos, photos / "a b" / ".."):
        for source in (photos, photos / "x.png", photos / "*.png"):
            with pytest.raises(InputError, match=r"^output='.*': the folder of the photos"):
                find_files(source, same)


def test_results_may_stand_above_the_photos_but_replace_none(run, photos, tmp_path):
    assert predict(run, photos, tmp_path).predicted == 3
    assert (tmp_path / "x.png").is_file()
    (photos / "photos").mkdir()
    deep = photos / "photos" / "x.png"  # its result is the photo x.png
    Image.fromarray(photo(3)).save(deep)
    before = (photos / "x.png").read_bytes()
    outcome = predict(run, photos, tmp_path)
    assert (outcome.predicted, outcome.skipped) == (0, 3)
    (line,) = outcome.failed
    assert line.startswith(f"{deep}: its result would replace the photo {photos / 'x.png'};")
    assert (photos / "x.png").read_bytes() == before


def test_labels_are_read_back_as_masks_and_never_replaced(run, photos, tmp_path):
    output = tmp_path / "labels"
    certainty = run.predict(photos / "x.png").certainty
    threshold = float(np.median(certainty))
    predict(run, photos, output, as_labels=True, threshold=threshold)
    expected = run.predict(photos / "x.png").labels(threshold)
    assert 0 < (expected == 255).mean() < 1
    np.testing.assert_array_equal(read_label(output / "x.png")[1], expected)
    corrected = np.zeros(SHAPE[:2], np.uint8)
    Image.fromarray(corrected).save(output / "x.png")
    later = (output / "x.png").stat().st_mtime + 5
    os.utime(photos / "x.png", (later, later))
    assert predict(run, photos, output, as_labels=True).skipped == 3
    np.testing.assert_array_equal(read_label(output / "x.png")[1], corrected)
    with pytest.raises(InputError, match=r"^as_labels=True: expected it alone"):
        Outputs(as_labels=True, overlays=True)
    with pytest.raises(InputError, match=r"^threshold=90: expected a probability"):
        Outputs(threshold=90)


def test_a_folder_data_set_reads_the_labels(run, photos, tmp_path):
    """Image and mask of a pair fit, as training reads them."""
    from sassn_jax.data.masks import read_pair

    predict(run, photos, tmp_path / "labels", as_labels=True, threshold=0.1)
    _, _, mask = read_pair(photos / "x.png", tmp_path / "labels" / "x.png", run.info.num_classes)
    np.testing.assert_array_equal(mask, run.predict(photos / "x.png").labels(0.1))


def test_confidence_needs_images_that_d_can_see(run, photos, tmp_path):
    Image.fromarray(photo(0)[:20]).save(photos / "low.png")
    outcome = predict(run, photos, tmp_path / "out", confidence=True)
    assert outcome.predicted == 3
    (line,) = outcome.failed
    assert line.startswith(f"{photos / 'low.png'}: confidence: an image of 56x20 pixels")


def test_the_command_says_what_it_did(trained, photos, tmp_path, capsys, run, monkeypatch):
    from sassn_jax.commands import predict as command

    def call(threshold=0.0):
        wanted = {"as_labels": False, "threshold": threshold}
        output = str(tmp_path / "out")
        command._predict(str(trained), str(photos), output, "latest", {}, wanted, 4)

    call()
    assert "3 images in" in capsys.readouterr().out
    (photos / "broken.png").write_bytes(b"")
    with pytest.raises(SystemExit) as stop:
        call()
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert "3 files skipped" in out
    assert "1 files failed" in out
    assert f"{photos / 'broken.png'}: cannot be read as an image" in err
    with pytest.raises(SystemExit):
        call(threshold=0.5)
    out, err = capsys.readouterr()
    assert "3 images in" in out
    assert "predicted before with other settings (threshold)" in err
    results = [run.predict(path) for path in sorted(photos.rglob("*.*")) if path.name in NAMES]
    ids = np.concatenate([result.ids.ravel() for result in results])
    kept = np.concatenate([result.labels(0.5).ravel() for result in results])
    shares = {
        name: f"{name} {(kept == i).sum() / (ids == i).sum():.0%}"
        for i, name in enumerate(run.info.class_names)
        if i in ids
    }
    (line,) = (line for line in out.splitlines() if line.startswith("threshold=0.5"))
    assert sorted(line.split(": ")[1].split(", ")) == sorted(shares.values())


def write_video(path, frames, rate=5):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = SHAPE[0], SHAPE[1], "yuv420p"
        for frame in frames:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode())


def test_a_video_gives_a_video(run, tmp_path):
    av = pytest.importorskip("av")
    path, output = tmp_path / "walk.mp4", tmp_path / "out"
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (90, 90, 90)] * 3
    write_video(path, [np.full(SHAPE, color, np.uint8) for color in colors])
    outcome = predict(run, path, output)
    assert (outcome.predicted, outcome.failed, names(output)) == (12, [], ["walk.mp4"])
    assert outcome.frames == 12
    with av.open(str(path)) as before, av.open(str(output / "walk.mp4")) as after:
        assert after.streams.video[0].average_rate == 5
        shown = [frame.to_ndarray(format="rgb24") for frame in before.decode(video=0)]
        drawn = [frame.to_ndarray(format="rgb24") for frame in after.decode(video=0)]
    assert len(drawn) == len(shown) == 12
    for image, picture in zip(shown, drawn, strict=True):
        expected = np.asarray(run.predict(image).overlay(), float)
        assert np.abs(picture - expected).mean() < 12  # H.264 loses some of the colours
    assert predict(run, path, output).skipped == 1
    outcome = predict(run, path, tmp_path / "labels", as_labels=True)
    assert outcome.failed == [f"{path}: a video gives no masks; take pictures out of it"]


def test_a_broken_video_is_named(run, tmp_path, monkeypatch):
    pytest.importorskip("av")
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    (line,) = predict(run, path, tmp_path / "out").failed
    assert line.startswith(f"{path}: cannot be read as a video")
    monkeypatch.setitem(sys.modules, "av", None)
    (line,) = predict(run, path, tmp_path / "out").failed
    assert line == f"{path}: videos need PyAV; install it with: pip install 'sassn_jax[video]'"
    assert names(tmp_path) == ["broken.mp4"]
