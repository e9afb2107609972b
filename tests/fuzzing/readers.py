"""Each reader of files from strangers, with a few valid files that are changed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tests.fuzzing import datasets, mutations, pictures, texts, weight_files
from tests.fuzzing.mutations import Mutation


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


READERS = {
    "photo": Reader(pictures.photos, pictures.read_photo),
    "png": Reader(pictures.pngs, pictures.as_rgb, mutations.any_png),
    "mask": Reader(pictures.masks, pictures.read_mask, mutations.any_png),
    "other_mask": Reader(pictures.other_masks, pictures.read_mask),
    "labelme": Reader(pictures.labelme, pictures.read_annotations, mutations.any_json),
    "coco": Reader(
        pictures.coco, pictures.read_annotations, mutations.any_json, needs="pycocotools"
    ),
    "ids": Reader(texts.lists, texts.read_ids, mutations.any_text),
    "class_list": Reader(texts.class_lists, texts.read_classes_txt, mutations.any_text),
    "split": Reader(texts.splits_json, texts.read_split, mutations.any_json),
    "classes": Reader(texts.classes_json, texts.read_classes, mutations.any_json),
    "workdir": Reader(texts.workdirs, texts.read_workdir, texts.change_workdir),
    "results": Reader(texts.results, texts.read_results, mutations.any_json),
    "npz": Reader(weight_files.npz, weight_files.read_npz, mutations.any_zip(mutations.any_bytes)),
    "safetensors": Reader(
        weight_files.exports, weight_files.read_export, mutations.any_safetensors
    ),
    "network": Reader(weight_files.networks, weight_files.read_network, mutations.any_safetensors),
    "onnx": Reader(weight_files.onnx, weight_files.read_onnx, needs="onnx"),
    "pth": Reader(weight_files.pth, weight_files.read_pth, weight_files.change_pth),
    "mat": Reader(datasets.mat, datasets.read_mat),
    "zip": Reader(datasets.archives, datasets.read_archive, mutations.any_zip(mutations.any_bytes)),
    "records": Reader(
        datasets.records, datasets.read_records, datasets.change_record, datasets.of_records
    ),
    "video": Reader(datasets.videos, datasets.read_video, needs="av"),
}
