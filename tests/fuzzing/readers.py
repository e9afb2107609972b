"""Each reader of files from strangers, with a few valid files that are changed."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from sassn_jax.data import FileLimits
from tests.fuzzing import mutations
from tests.fuzzing.mutations import Mutation

HEIGHT, WIDTH = 9, 13
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
IDS = RNG.integers(0, 3, (HEIGHT, WIDTH), np.uint8)
COLORS = ((0, 0, 0), (128, 64, 128), (255, 0, 0))
CLASSES = ("background", "road", "car")


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and files for it.

    Attributes:
      prepare: writes valid files into a folder.
      seeds: returns those of them that are changed, one at a time.
      read: reads what a folder holds, by one of the files.
      mutate: changes the content of one.
      needs: a package that is an extra.
    """

    prepare: Callable[[Path], None]
    read: Callable[[Path], object]
    mutate: Mutation = mutations.any_bytes
    seeds: Callable[[Path], list[Path]] = lambda folder: sorted(folder.iterdir())
    needs: str = ""


def photos(folder: Path) -> None:
    image = Image.fromarray(RGB)
    for suffix in ("jpg", "webp", "tif", "bmp"):
        image.save(folder / f"rgb.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        image.save(folder / f"{compression}.tif", compression=compression)
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(folder / "float.tif")


def pngs(folder: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(folder / "rgb.png")
    image.convert("RGBA").save(folder / "rgba.png")
    image.convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(RGB[..., 0] > 100).save(folder / "bits.png")
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")


def masks(folder: Path) -> None:
    Image.fromarray(IDS).save(folder / "grey.png")
    Image.fromarray(np.array(COLORS, np.uint8)[IDS]).save(folder / "colors.png")
    palette = Image.fromarray(IDS, "P")
    palette.putpalette(np.array(COLORS, np.uint8).ravel().tolist())
    palette.save(folder / "palette.png", bits=2)
    Image.fromarray(IDS.astype(np.uint16)).save(folder / "deep.png")


def other_masks(folder: Path) -> None:
    for suffix in ("tif", "bmp"):
        Image.fromarray(IDS).save(folder / f"grey.{suffix}")
        Image.fromarray(np.array(COLORS, np.uint8)[IDS]).save(folder / f"colors.{suffix}")
    Image.fromarray(IDS.astype(np.float32)).save(folder / "float.tif")


def read_photo(path: Path) -> None:
    from sassn_jax.data.images import orientation, photo_notes, read_photo

    photo_notes({path.name: path})
    orientation(path.read_bytes())
    read_photo(path)


def read_mask(path: Path) -> None:
    from sassn_jax.data.masks import has_palette, read_label
    from sassn_jax.data.proposals import is_proposed

    has_palette(path)
    is_proposed(path)
    read_label(path, COLORS)


def as_rgb(path: Path) -> None:
    from sassn_jax.prediction.images import as_rgb

    as_rgb(path)


def labelme(folder: Path) -> None:
    kinds = {"polygon": 4, "rectangle": 2, "circle": 2, "line": 2, "point": 1, "linestrip": 3}
    shapes = [
        {"label": "road", "shape_type": kind, "points": RNG.uniform(0, 9, (count, 2)).tolist()}
        for kind, count in kinds.items()
    ]
    file = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
    (folder / "a.json").write_text(json.dumps(file))


def coco(folder: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [10, 20, HEIGHT * WIDTH - 30]}
    packed = {"size": [HEIGHT, WIDTH], "counts": "m036000000000R1"}
    polygon = [RNG.uniform(0, 9, 8).tolist()]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 2, "segmentation": segmentation}
        for i, segmentation in enumerate((polygon, runs, packed))
    ]
    file = {
        "images": [{"id": 1, "file_name": "x/a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "road"}],
    }
    (folder / "coco.json").write_text(json.dumps(file))


def read_annotations(path: Path) -> None:
    from sassn_jax.data.annotations import find_annotated, find_annotations
    from sassn_jax.data.images import Photo

    find_annotated(path.parent, ["a"])
    found = find_annotations(path.parent, ["a"])
    for one in found.values():
        one.draw(CLASSES, Photo(b"", RGB, 1))


def lists(folder: Path) -> None:
    (folder / "train.txt").write_text("a\nfolder/b.jpg\n\nimages/c.png labels/c.png\n")


def read_ids(path: Path) -> None:
    from sassn_jax.data.splits import choose_labeled

    choose_labeled(("a", "folder/b", "c"), str(path), 0)


def class_lists(folder: Path) -> None:
    (folder / "classes.txt").write_text("ignore 0 0 0\nroad 128 64 128\ncar:1,2,3::\n")
    (folder / "names.txt").write_text("background\nroad\ncar\n")


def read_classes_txt(path: Path) -> None:
    from sassn_jax.data.class_list import read_class_list

    found = read_class_list(path)
    str((found.names, found.colors, found.notes))


def splits_json(folder: Path) -> None:
    split = {"labeled": ["a", "b"], "unlabeled": ["c"], "fingerprint": "0123"}
    (folder / "split.json").write_text(json.dumps(split))


def read_split(path: Path) -> None:
    from sassn_jax.data import read_split

    hash(read_split(path))


def classes_json(folder: Path) -> None:
    classes = {"names": list(CLASSES), "palette": [list(x) for x in COLORS], "ignore_label": 255}
    (folder / "classes.json").write_text(json.dumps(classes))


def read_classes(path: Path) -> None:
    from sassn_jax.data import read_classes

    str(read_classes(path, "folder").mask_palette)


def workdirs(folder: Path) -> None:
    from sassn_jax.recipes import default_config

    config = default_config("sassn", dataset="folder", source="photos", labels="1/8").to_dict()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "lengths.json").write_text("[20000, 30000]")
    (folder / "command.txt").write_text("sassn train --config=configs/scenes.py\n")


def change_workdir(content: bytes, rng: object) -> bytes:
    is_text = content.startswith(b"sassn")
    change = mutations.any_text if is_text else mutations.any_json
    return change(content, rng)


def read_workdir(path: Path) -> None:
    from sassn_jax.recipes import override
    from sassn_jax.training.binding import binding
    from sassn_jax.training.workdir import Workdir

    folder = Workdir(path.parent)
    config = folder.read_config()
    binding(override(config, {"model.weights": ""}))
    folder.read_lengths()
    folder.read_command()


def results(folder: Path) -> None:
    settings = {"network": "0123", "step": 3, "eval": {"mirror": False}, "threshold": 0.0}
    (folder / "predict.json").write_text(json.dumps(settings))


def read_results(path: Path) -> None:
    from sassn_jax.inference import Inference
    from sassn_jax.prediction.files import _begin
    from sassn_jax.prediction.outputs import IDS_ALONE

    config = SimpleNamespace(eval=Inference())
    run = SimpleNamespace(fingerprint="0123", step=3, config=config)
    _begin(run, [], path.parent, IDS_ALONE, lambda note: None)


def arrays() -> dict[str, np.ndarray]:
    return {
        "conv1.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn1.bias": np.zeros(4),
        "bn1.num_batches_tracked": np.array(7),
    }


def npz(folder: Path) -> None:
    np.savez(folder / "a.npz", **arrays())
    np.savez_compressed(folder / "b.npz", **arrays())


def read_npz(path: Path) -> None:
    from sassn_jax.weights import npz

    npz.names(path)
    npz.read(path)


def exports(folder: Path) -> None:
    from sassn_jax.conversion.exporting import write_export
    from sassn_jax.data import DatasetInfo
    from sassn_jax.recipes import default_config

    info = DatasetInfo("folder", CLASSES, np.array(COLORS, np.uint8))
    variables = {"params": {"backbone": {"conv1": {"kernel": RNG.normal(size=(3, 3, 3, 4))}}}}
    config = default_config("supervised", dataset="folder").to_dict()
    path = folder / "a.safetensors"
    write_export(path, variables, config=config, info=info, step=3)


def read_export(path: Path) -> None:
    from sassn_jax.conversion.exporting import read_export
    from sassn_jax.recipes import parse, resolve
    from sassn_jax.weights import store

    store.read_arrays(path)
    config = parse({"model": {"weights": str(path), "backbone": "resnet101"}})
    resolve(config)
    parse(read_export(path).config)


def networks(folder: Path) -> None:
    import jax

    from sassn_jax import methods
    from sassn_jax.conversion.exporting import write_export
    from sassn_jax.data import DatasetInfo
    from sassn_jax.recipes import default_config, parse
    from sassn_jax.training.setup import abstract_state

    config = default_config("supervised", dataset="folder", crop_size=(33, 33), batch_size=2)
    config.model.backbone = "resnet_tiny"
    config = parse(config)
    method = methods.create(config, len(CLASSES), 255)
    shapes = method.inference_variables(abstract_state(method, config))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    info = DatasetInfo("folder", CLASSES, np.array(COLORS, np.uint8))
    fields = config.to_dict()
    write_export(folder / "a.safetensors", variables, config=fields, info=info, step=3)


def read_network(path: Path) -> None:
    from sassn_jax.prediction.run import load_run

    load_run(path)


def onnx(folder: Path) -> None:
    from tests.weights.test_onnx import graph_of, write

    convs = [f"layer{i}.0.{x}" for i in range(1, 5) for x in ("conv1", "conv2", "conv3")]
    convs += [f"layer{i}.0.downsample.0" for i in range(1, 5)]
    weights = {f"{name}.weight": np.ones((2, 2, 1, 1), np.float32) for name in (*convs, "conv1")}
    biases = {f"{name}.bias": np.ones(2, np.float32) for name in (*convs, "conv1")}
    write(folder / "a.onnx", *graph_of({**weights, **biases}))


def read_onnx(path: Path) -> None:
    from sassn_jax.weights import onnx

    onnx.read(path)


def pth(folder: Path) -> None:
    from tests.weights.test_pth import tensor, write_legacy, write_zip

    tree = {"state_dict": {"a.weight": tensor(), "a.bias": tensor(size=(12,), stride=(1,))}}
    write_zip(folder / "zip.pth", tree)
    write_legacy(folder / "legacy.pth", tree)


def change_pth(content: bytes, rng: object) -> bytes:
    is_zip = content.startswith(b"PK")
    change = mutations.any_zip(mutations.any_bytes) if is_zip else mutations.any_bytes
    return change(content, rng)


def read_pth(path: Path) -> None:
    from sassn_jax.weights import pth

    pth.read(path)


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

    images = cityscapes._open(path.parent, "leftImg8bit")
    for one in (images / "train" / "ulm").iterdir():
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


READERS = {
    "photo": Reader(photos, read_photo),
    "png": Reader(pngs, as_rgb, mutations.any_png),
    "mask": Reader(masks, read_mask, mutations.any_png),
    "other_mask": Reader(other_masks, read_mask),
    "labelme": Reader(labelme, read_annotations, mutations.any_json),
    "coco": Reader(coco, read_annotations, mutations.any_json, needs="pycocotools"),
    "ids": Reader(lists, read_ids, mutations.any_text),
    "class_list": Reader(class_lists, read_classes_txt, mutations.any_text),
    "split": Reader(splits_json, read_split, mutations.any_json),
    "classes": Reader(classes_json, read_classes, mutations.any_json),
    "workdir": Reader(workdirs, read_workdir, change_workdir),
    "results": Reader(results, read_results, mutations.any_json),
    "npz": Reader(npz, read_npz, mutations.any_zip(mutations.any_bytes)),
    "safetensors": Reader(exports, read_export, mutations.any_safetensors),
    "network": Reader(networks, read_network, mutations.any_safetensors),
    "onnx": Reader(onnx, read_onnx, needs="onnx"),
    "pth": Reader(pth, read_pth, change_pth),
    "mat": Reader(mat, read_mat, needs="scipy"),
    "zip": Reader(archives, read_archive, mutations.any_zip(mutations.any_bytes)),
    "records": Reader(records, read_records, change_record, of_records),
    "video": Reader(videos, read_video, needs="av"),
}
