"""What a run writes for people and for programs."""

import contextlib
import json
import math
import re
import resource

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data import DatasetInfo
from sassn_jax.recipes import default_config, parse
from sassn_jax.training.summaries import Writer, colorize, picture_row, tile, write_picture
from sassn_jax.training.workdir import Workdir

INFO = DatasetInfo("toy", ("a", "b"), np.array([[10, 20, 30], [40, 50, 60]], np.uint8))


def rows_of(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_scalars_are_a_line_of_json_each(tmp_path):
    with Writer(Workdir(tmp_path), 0) as writer:
        writer.scalars(1, {"loss": 0.5})
        writer.scalars(2, {"loss": math.nan, "miou": math.inf})
    assert rows_of(tmp_path) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None, "miou": None},
    ]


def test_tensorboard_finds_scalars_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    with Writer(Workdir(tmp_path), 0) as writer:
        writer.scalars(3, {"val/miou": 0.25})
        writer.picture(3, "val", picture)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    (scalar,) = events.Scalars("val/miou")
    assert (scalar.step, scalar.value) == (3, 0.25)
    (image,) = events.Images("val")
    assert (image.step, image.width, image.height) == (3, 5, 6)


def test_tensorboard_compares_runs_in_a_table(tmp_path):
    """As its own plugin reads them. The run "b" was stopped, and went on."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
    from tensorboard.plugins.hparams.backend_context import Context

    rates = {"a": 1e-3, "b": 2e-3}
    for name, rate in rates.items():
        config = default_config("sassn", dataset="scenes", data_dir="/home/me/DATA")
        config.optimizer.lr = rate
        (tmp_path / name).mkdir()
        for start in (0, 2) if name == "b" else (0,):
            with Writer(Workdir(tmp_path / name), start) as writer:
                writer.config(start, parse(config))
                writer.scalars(start + 2, {"val/miou": rate, "val/pixel_accuracy": 0.5})
                if name == "a":
                    writer.finish(2)
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    runs.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(tmp_path))))
    request = api_pb2.GetExperimentRequest(experiment_name="")
    experiment = get_experiment.Handler(RequestContext(), context, "", request).run()
    assert [x.name.tag for x in experiment.metric_infos] == ["val/miou", "val/pixel_accuracy"]
    fields = {x.name for x in experiment.hparam_infos}
    assert {"method", "model.attention", "optimizer.lr", "num_steps", "loss.semi_start"} <= fields
    assert not {"data_dir", "log_every"} & fields

    request = api_pb2.ListSessionGroupsRequest(slice_size=9, allowed_statuses=range(4))
    for metric in experiment.metric_infos:
        request.col_params.add(metric=metric.name)
    for name in ("optimizer.lr", "model.attention", "model.spectral_norm"):
        request.col_params.add(hparam=name)
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run()
    rows = {group.name: group for group in groups.session_groups}
    assert len(rows) == 2
    for row in rows.values():
        (session,) = row.sessions
        rate = rates[session.name]
        assert row.hparams["optimizer.lr"].number_value == rate
        assert row.hparams["model.attention"].string_value == "('layer3', 'layer4')"
        assert row.hparams["model.spectral_norm"].bool_value is True
        assert row.metric_values[0].value == pytest.approx(rate)
        assert row.metric_values[0].training_step == (4 if session.name == "b" else 2)
        assert session.status == (1 if session.name == "a" else 0)  # success; not known

    accumulator = runs.GetAccumulator("a")
    (text,) = accumulator.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert shown.startswith("```json\n{")
    assert json.loads(shown.removeprefix("```json\n").removesuffix("\n```"))["method"] == "sassn"


def test_what_has_no_group_is_in_one_of_its_own(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Writer(Workdir(tmp_path), 0) as writer:
        writer.scalars(1, {"loss/generator": 0.5, "images_per_second": 3.0})
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert sorted(tags) == ["loss/generator", "speed/images_per_second"]
    assert rows_of(tmp_path) == [{"step": 1, "loss/generator": 0.5, "images_per_second": 3.0}]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    with Writer(Workdir(tmp_path), 0) as writer:
        for step in range(1, 6):
            writer.scalars(step, {"loss": step / 8})
    # What a kill in the middle of a line leaves.
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with Writer(Workdir(tmp_path), 3) as writer:
        writer.scalars(4, {"loss": 0.0})
    assert [(row["step"], row["loss"]) for row in rows_of(tmp_path)] == [
        (1, 0.125), (2, 0.25), (3, 0.375), (4, 0.0),
    ]  # fmt: skip


def test_lines_are_there_before_the_run_ends(tmp_path):
    with Writer(Workdir(tmp_path), 0) as writer:
        writer.scalars(1, {"loss": 0.5})
        assert rows_of(tmp_path) == [{"step": 1, "loss": 0.5}]


@contextlib.contextmanager
def files_of_at_most(size):
    """Stands in for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_once_and_what_it_did_not_take_is_written_later(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    said = []
    with Writer(Workdir(tmp_path), 0, said.append) as writer:
        writer.scalars(1, {"loss": 0.5})
        with files_of_at_most(100_000):
            writer.picture(1, "val", noise)  # cut in the middle
            writer.scalars(2, {"loss": 0.25})
            sizes = [path.stat().st_size for path in tmp_path.glob("events*")]
        writer.scalars(3, {"loss": 0.125})
    assert sizes == [100_000]
    [line] = said
    assert line.startswith(f"{tmp_path}: File too large; the values of the run are kept")
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [scalar.step for scalar in events.Scalars("speed/loss")] == [1, 2, 3]
    assert len(events.Images("val")) == 1


def test_a_disk_that_is_full_at_the_end_is_an_error(tmp_path):
    with (
        files_of_at_most(100),
        pytest.raises(OSError, match=re.escape(str(tmp_path))),
        Writer(Workdir(tmp_path), 0, lambda line: None) as writer,
    ):
        writer.scalars(1, {"loss": 0.5})
    assert [row["step"] for row in rows_of(tmp_path)] == [1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_colorize(dtype):
    labels = np.array([[0, 1], [255, 0]], dtype)
    expected = [[[10, 20, 30], [40, 50, 60]], [[255, 255, 255], [10, 20, 30]]]
    np.testing.assert_array_equal(colorize(labels, INFO), expected)


def test_picture_row():
    rng = np.random.default_rng(0)
    example = {
        "image": rng.integers(0, 256, (2, 3, 3)).astype(np.uint8),
        "label": np.array([[0, 1, 1], [255, 0, 0]], np.uint8),
        "id": "a",
    }
    prediction = np.array([[1, 1, 1], [0, 0, 0]], np.int32)
    confidence = np.array([[0, 0.2, 1], [0.5, 1, 1]], np.float32)
    without = picture_row(example, prediction, INFO)
    assert len(without) == 3
    image, truth, guess, sure = picture_row(example, prediction, INFO, confidence)
    np.testing.assert_array_equal(image, example["image"])
    np.testing.assert_array_equal(truth, colorize(example["label"], INFO))
    np.testing.assert_array_equal(guess, colorize(prediction, INFO))
    red, white, blue = [255, 0, 0], [255] * 3, [0, 0, 255]
    np.testing.assert_array_equal(sure, [[blue, [102, 102, 255], red], [white, red, red]])


def test_write_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_tile():
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 99, np.uint8)
    table = tile([[black, grey], [grey, black]], gap=1)
    assert table.shape == (2 * 2 + 1, 2 * 3 + 1, 3)
    np.testing.assert_array_equal(table[:2, :3], black)
    np.testing.assert_array_equal(table[:2, 4:], grey)
    np.testing.assert_array_equal(table[3:, :3], grey)
    assert (table[2] == 255).all()
    assert (table[:, 3] == 255).all()
    np.testing.assert_array_equal(tile([[grey]]), grey)
