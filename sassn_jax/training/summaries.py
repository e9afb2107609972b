"""What a run logs: scalars and pictures for TensorBoard, and lines of JSON for programs."""

import contextlib
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from sassn_jax.config import Config
from sassn_jax.data import DatasetInfo, Example
from sassn_jax.data.drawing import heat_map
from sassn_jax.files import Appender, naming, replacing
from sassn_jax.training.binding import binding
from sassn_jax.training.workdir import Workdir

_WHITE = 255
COMPARED = ("val/miou", "val/pixel_accuracy")  # what TensorBoard's table of runs shows of each


class Writer:
    """Writes scalars to `metrics.jsonl` and, with pictures, to TensorBoard events in the workdir.

    A run that goes on from a checkpoint drops what was written after it, so that each step is
    logged once.
    """

    def __init__(self, workdir: Workdir, start_step: int, say: Callable[[str], None] = print):
        """Opens the files of a run that goes on after `start_step` steps.

        Args:
          workdir: of the run.
          start_step: after which its rows are dropped.
          say: prints a line, once, if something cannot be written. It is kept, and tried again.
        """
        # Here, because it imports torch where that is installed. Not its SummaryWriter: that writes
        # in a thread, which dies on a full disk without a word to this one.
        from tensorboardX.proto.event_pb2 import SessionLog

        self._workdir, self._say, path = workdir.path, say, workdir.metrics
        self._is_told = False
        if path.exists():
            kept = [row for row in workdir.read_rows() if row["step"] <= start_step]
            with replacing(path) as beside:
                beside.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
        self._lines = Appender(path)
        name = f"{workdir.events}.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._events = Appender(Path(name))
        self._add_event(0, file_version="brain.Event:2")
        # TensorBoard then hides what an earlier file has of later steps.
        self._add_event(start_step + 1, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        # After an error, that is what a user should hear of.
        with contextlib.suppress(OSError) if kind else naming(self._workdir):
            for file in (self._lines, self._events):
                file.close()

    def flush(self) -> None:
        """Writes what is kept; tells if that cannot be done."""
        try:
            with naming(self._workdir):
                for file in (self._lines, self._events):
                    file.flush()
        except OSError as error:
            if not self._is_told:
                self._say(
                    f"{error.filename}: {error.strerror}; the values of the run are kept in memory "
                    "and written when that is possible"
                )
            self._is_told = True
        else:
            self._is_told = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values of a step. A value that is not finite is null in JSON."""
        from tensorboardX import summary

        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.append((json.dumps({"step": step, **row}) + "\n").encode())
        for name, value in values.items():
            tag = name if "/" in name else f"speed/{name}"  # a group for those without one
            self._add_event(step, summary=summary.scalar(tag, value))
        self.flush()

    def config(self, step: int, config: Config) -> None:
        """Writes the config as text, and this run's line for TensorBoard's table of all runs."""
        from tensorboardX import summary

        text = json.dumps(config.to_dict(), indent=2)
        values = {name: _plain(value) for name, value in sorted(binding(config).items())}
        experiment, start, _ = summary.hparams(values, dict.fromkeys(COMPARED, 0.0))
        for content in (summary.text("config", f"```json\n{text}\n```"), experiment, start):
            self._add_event(step, summary=content)
        self.flush()

    def finish(self, step: int) -> None:
        """Writes that the run is complete, for the same table."""
        from tensorboardX import summary

        _, _, end = summary.hparams({}, {})
        self._add_event(step, summary=end)
        self.flush()

    def picture(self, step: int, name: str, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes a picture of a step."""
        from tensorboardX import summary

        self._add_event(step, summary=summary.image(name, image, dataformats="HWC"))
        self.flush()

    def _add_event(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        self._events.append(_as_record(event.SerializeToString()))


def _as_record(data: bytes) -> bytes:
    """Returns data with its length and checksums, as in TensorFlow's files of records."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return b"".join([length, next(sums), data, next(sums)])


def _plain(value: Any) -> str | bool | int | float:
    """Returns a field's value as TensorBoard's table can hold it."""
    return value if isinstance(value, str | bool | int | float) else str(value)


class NoWriter:
    """Takes the place of a `Writer` in a process that writes nothing."""

    def __enter__(self) -> "NoWriter":
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        pass

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes nothing, as all methods here."""

    def config(self, step: int, config: Config) -> None:
        """See `scalars`."""

    def finish(self, step: int) -> None:
        """See `scalars`."""

    def picture(self, step: int, name: str, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """See `scalars`."""


AnyWriter = Writer | NoWriter


def colorize(labels: Integer[np.ndarray, "H W"], info: DatasetInfo) -> UInt8[np.ndarray, "H W 3"]:
    """Paints class ids in the dataset's palette, ignored pixels white."""
    return info.mask_palette[labels]


def picture_row(
    example: Example,
    prediction: Integer[np.ndarray, "H W"],
    info: DatasetInfo,
    confidence: Float[np.ndarray, "H W"] | None = None,
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Returns pictures of input, truth, prediction and, if given, D's confidence in colours."""
    row = [example["image"], colorize(example["label"], info), colorize(prediction, info)]
    if confidence is not None:
        row.append(np.asarray(heat_map(confidence)))
    return row


def tile(rows: list[list[UInt8[np.ndarray, "h w 3"]]], gap: int = 4) -> UInt8[np.ndarray, "H W 3"]:
    """Joins pictures of one size into a table, white gaps of `gap` pixels between them."""

    def join(pictures: list[np.ndarray], axis: int) -> np.ndarray:
        shape = list(pictures[0].shape)
        shape[axis] = gap
        white = np.full(shape, _WHITE, np.uint8)
        spaced = [part for picture in pictures for part in (white, picture)]
        return np.concatenate(spaced[1:], axis=axis)

    return join([join(row, 1) for row in rows], 0)


def write_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Writes a PNG file whole or not at all."""
    with replacing(path) as beside:
        Image.fromarray(picture).save(beside, format="png")
