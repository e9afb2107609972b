"""What datasets are published and prepared in, and videos."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from sassn_jax.data import FileLimits
from tests.fuzzing import mutations
from tests.fuzzing.pictures import CLASSES, IDS, RGB, pngs


def mat(folder: Path) -> None:
    from tests.data.published_voc import save_mat

    save_mat(folder / "a.mat", IDS)


def read_mat(path: Path) -> None:
    from sassn_jax.data.voc2012_aug import read_sbd_label

    read_sbd_label(path)


def archives(folder: Path) -> None:
    pngs(folder)
    with zipfile.ZipFile(folder / "leftImg8bit_trainvaltest.zip", "w") as archive:
        for path in sorted(folder.glob("*.png")):
            archive.write(path, f"leftImg8bit/train/ulm/{path.name}", zipfile.ZIP_DEFLATED)
            path.unlink()


def read_archive(path: Path) -> None:
    from sassn_jax.data import cityscapes
    from sassn_jax.data.images import read_bytes

    folder = cityscapes._open(path.parent, "leftImg8bit") / "train" / "ulm"
    for one in folder.iterdir() if folder.is_dir() else ():
        read_bytes(one)


def folders(folder: Path) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for id_ in ("a", "b", "c"):
        Image.fromarray(RGB).save(folder / "images" / f"{id_}.png")
        Image.fromarray(IDS).save(folder / "labels" / f"{id_}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "val.txt").write_text("a\n")


def records(folder: Path) -> None:
    from sassn_jax import data

    folders(folder)
    data.prepare("folder", folder, folder / "data")
    for name in ("images", "labels"):
        shutil.rmtree(folder / name)


def of_records(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "data").rglob("*") if path.is_file())


def change_record(content: bytes, rng: object) -> bytes:
    is_json = content.startswith(b"{")
    change = mutations.any_json if is_json else mutations.any_bytes
    return change(content, rng)


def read_records(path: Path) -> None:
    from sassn_jax import data

    data_dir = next(parent for parent in path.parents if parent.name == "data")
    dataset = data.load("folder", data_dir, limits=FileLimits())
    for source in dataset.splits.values():
        for index in range(len(source)):
            source[index]


def videos(folder: Path) -> None:
    import av

    for suffix, codec in (("mp4", "h264"), ("avi", "mpeg4"), ("mkv", "ffv1"), ("webm", "vp9")):
        with av.open(str(folder / f"a.{suffix}"), "w") as target:
            stream = target.add_stream(codec, rate=5)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for shade in (0, 100):
                frame = np.full((32, 32, 3), shade, np.uint8)
                target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            target.mux(stream.encode())


def read_video(path: Path) -> None:
    from sassn_jax.prediction.video import predict_video

    def stream(frames: object) -> object:
        return (SimpleNamespace(overlay=lambda frame=frame: frame) for frame in frames)

    output = path.with_name("out.mp4")
    try:
        predict_video(SimpleNamespace(stream=stream), path, output)
    finally:
        output.unlink(missing_ok=True)
