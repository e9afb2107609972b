"""Predicting the frames of a video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from sassn_jax.data.limits import FileLimits, check_pixels
from sassn_jax.errors import InputError, one_line
from sassn_jax.files import replacing
from sassn_jax.prediction.predicting import Predictor

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # of `VIDEOS`, as FFmpeg calls them
_USUAL_RATE = Fraction(25)  # frames a second, where the file does not say


def predict_video(
    predictor: Predictor, path: Path, output: Path, max_pixels: int = FileLimits.max_pixels
) -> int:
    """Writes a video with the colours of the classes over each frame.

    The frames come at the mean rate of the input. A side of an odd number of pixels loses one, as
    H.264 demands. There is no sound.

    Args:
      predictor: the network.
      path: of the video.
      output: the file to write, MP4; it appears whole or not at all.
      max_pixels: the most that a frame may have, see `FileLimits`.

    Returns:
      The number of frames.

    Raises:
      InputError: if PyAV is not installed, if the video cannot be read, or if its frames have too
        many pixels.
      OSError: if the result cannot be written.
    """
    try:
        import av
    except ImportError:
        raise InputError(
            f"{path}: videos need PyAV; install it with: pip install 'sassn_jax[video]'"
        ) from None

    def check_frame(width: int, height: int) -> None:
        try:
            check_pixels(width, height, max_pixels)
        except InputError as error:
            raise InputError(f"{path}: cannot be read as a video ({error})") from None

    def read() -> Iterator[np.ndarray]:
        try:
            for frame in source.decode(video):
                check_frame(frame.width, frame.height)
                image = frame.to_ndarray(format="rgb24")
                yield np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
        except av.FFmpegError as error:
            raise InputError(f"{path}: cannot be read as a video ({one_line(error)})") from None

    try:
        # Other formats, such as playlists, can name further files and addresses to read.
        source = av.open(
            f"file:{path}",
            options={"format_whitelist": _FORMATS},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be read as a video ({one_line(error)})") from None
    frames = 0
    with source:
        if not source.streams.video:
            raise InputError(f"{path}: holds no video")
        video = source.streams.video[0]
        if video.codec_context is None:
            raise InputError(f"{path}: cannot be read as a video (its codec is not known)")
        check_frame(video.codec_context.width, video.codec_context.height)
        # A frame may be larger than the file states. FFmpeg counts pixels around a frame, too.
        video.codec_context.options = {"max_pixels": str(2 * max_pixels + 2**20)}
        with replacing(output) as beside, av.open(str(beside), "w", format="mp4") as target:
            stream = target.add_stream("h264", rate=video.average_rate or _USUAL_RATE)
            for result in predictor.stream(read()):
                picture = np.asarray(result.overlay())
                height, width = (side - side % 2 for side in picture.shape[:2])
                if frames == 0:
                    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                even = np.ascontiguousarray(picture[:height, :width])
                try:
                    packets = stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24"))
                except av.error.ExternalError as error:
                    raise InputError(
                        f"{path}: frames of {width}x{height} pixels cannot be written as H.264 "
                        f"({one_line(error)})"
                    ) from None
                target.mux(packets)
                frames += 1
            if frames == 0:
                raise InputError(f"{path}: holds no frame")
            target.mux(stream.encode())
    return frames
