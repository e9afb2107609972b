"""Videos from strangers: their size, and other files that they name."""

from types import SimpleNamespace

import numpy as np
import pytest

from sassn_jax.errors import InputError
from sassn_jax.prediction.predicting import Predictor
from sassn_jax.prediction.video import predict_video

av = pytest.importorskip("av", reason="needs PyAV")


class Shown(Predictor):
    """Shows each frame as it is."""

    def __init__(self):
        pass

    def stream(self, images):
        return (SimpleNamespace(overlay=lambda image=image: image) for image in images)


def predict(path, **options):
    return predict_video(Shown(), path, path.with_name("out.mp4"), **options)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = np.zeros((48, 64, 3), np.uint8)
        target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode())
    return path


def test_a_video_of_too_many_pixels_is_refused(video):
    assert predict(video, max_pixels=64 * 48) == 1
    with pytest.raises(InputError) as error:
        predict(video, max_pixels=64 * 48 - 1)
    assert str(error.value) == (
        f"{video}: cannot be read as a video (64x48 pixels are more than files.max_pixels=3071; "
        "make it smaller, or set files.max_pixels higher)"
    )


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile a.mp4\n",
    ],
)
def test_a_playlist_is_no_video(video, playlist):
    """FFmpeg itself takes both for videos, and reads the files and addresses that they name."""
    path = video.with_name("playlist.mp4")
    path.write_text(playlist)
    with pytest.raises(InputError, match=r"^.*/playlist.mp4: cannot be read as a video"):
        predict(path)
