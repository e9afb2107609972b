"""VOC 2012 with SBD, from small folders in the published layout."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from sassn_jax import data
from sassn_jax.data import voc2012_aug
from sassn_jax.errors import InputError
from tests.data import published_voc
from tests.data.published_voc import (
    CLS,
    IMAGES,
    LISTS,
    MASKS,
    OF_VOC,
    PALETTE,
    SBD,
    TRAIN,
    VAL,
    VOC,
    label_of,
    save_mask,
    save_mat,
)
from tests.data.sources import litter


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(voc2012_aug, "SPLIT_SIZES", {"train": len(TRAIN), "val": len(VAL)})
    root = tmp_path / "source"
    published_voc.write(root)
    return root


@pytest.fixture
def converted(source):
    """Replaces SBD by converted masks, among them those of VOC."""
    folder = source / VOC / "SegmentationClassAug"
    folder.mkdir()
    for id_ in (*TRAIN, *VAL):
        save_mask(folder / f"{id_}.png", label_of(id_, of_voc=id_ in OF_VOC), mode="L")
    for path in sorted((source / SBD).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (source / SBD).rmdir()
    return source


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def check(root, data_dir):
    dataset = data.load("voc2012_aug", data_dir)
    assert {name: tuple(split.ids) for name, split in dataset.splits.items()} == {
        "train": TRAIN,
        "val": VAL,
    }
    for split in dataset.splits.values():
        for i, id_ in enumerate(split.ids):
            one = split[i]
            assert one["id"] == id_
            assert (one["image"] == np.asarray(Image.open(root / IMAGES / f"{id_}.jpg"))).all()
            np.testing.assert_array_equal(one["label"], label_of(id_, of_voc=id_ in OF_VOC))


def test_training_images_are_vocs_and_sbds_but_those_of_val(source, tmp_path, capfd):
    steps = []
    assert data.prepare("voc2012_aug", source, tmp_path / "data", lambda *step: steps.append(step))
    assert steps == [(i, 7) for i in range(1, 8)]
    check(source, tmp_path / "data")
    assert not data.prepare("voc2012_aug", source, tmp_path / "data")
    assert capfd.readouterr() == ("", "")


def test_converted_masks_give_the_same(converted, tmp_path):
    assert data.prepare("voc2012_aug", converted, tmp_path / "data")
    check(converted, tmp_path / "data")


def test_what_systems_leave_in_folders_is_passed_over(converted, tmp_path):
    litter(converted)
    data.prepare("voc2012_aug", converted, tmp_path / "data")
    check(converted, tmp_path / "data")


def test_converted_masks_may_be_those_of_sbd_alone(converted, tmp_path):
    for id_ in OF_VOC:
        (converted / VOC / "SegmentationClassAug" / f"{id_}.png").unlink()
    (converted / VOC / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join(TRAIN))
    assert data.prepare("voc2012_aug", converted, tmp_path / "data")
    check(converted, tmp_path / "data")


def test_the_paper_has_10582_training_images_and_1449_for_validation():
    assert voc2012_aug.SPLIT_SIZES == {"train": 10582, "val": 1449}


def test_classes_and_colours_are_those_of_voc(source, tmp_path):
    data.prepare("voc2012_aug", source, tmp_path)
    info = data.load("voc2012_aug", tmp_path).info
    assert info.num_classes == 21
    assert info.class_names[:2] == ("background", "aeroplane")
    assert info.class_names[20] == "tvmonitor"
    for index in (0, 1, 2, 20):
        assert tuple(info.palette[index]) == PALETTE[index]
    assert len(np.unique(info.palette, axis=0)) == 21


def delete(path):
    def damage(root):
        (root / path).unlink()
        return path

    return pytest.param(damage, id=f"no {path.name} in {path.parent.name}")


def truncate(path, keep):
    def damage(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(keep * len(content))])
        return path

    return pytest.param(damage, id=f"{keep} of {path.name} in {path.parent.name}")


def copy(old, new):
    def damage(root):
        (root / new).write_bytes((root / old).read_bytes())
        return new

    return pytest.param(damage, id=f"additional {new.name} in {new.parent.name}")


def mask(path, label):
    def damage(root):
        if path.suffix == ".mat":
            save_mat(root / path, label)
        else:
            save_mask(root / path, label)
        return path

    return pytest.param(damage, id=f"mask {label.shape} of {label.max()} as {path.name}")


def coloured_mask(root):
    path = MASKS / "2007_000032.png"
    Image.open(root / path).convert("RGB").save(root / path)
    return path


def mat_of_something_else(root):
    scipy.io.savemat(root / CLS / "2008_000002.mat", {"GTinst": {"Segmentation": np.eye(3)}})
    return CLS / "2008_000002.mat"


def mat_of_wide_numbers(root):
    save_mat(root / CLS / "2008_000002.mat", label_of("2008_000002", False).astype(np.float64))
    return CLS / "2008_000002.mat"


def text_as_mat(root):
    (root / CLS / "2008_000002.mat").write_text("not a mask\n" * 100)
    return CLS / "2008_000002.mat"


def other_size_of_mat(root):
    save_mat(root / CLS / "2008_000002.mat", label_of("2008_000002", False).T.copy())
    return CLS / "2008_000002.mat"


def empty_mat(root):
    save_mat(root / CLS / "2008_000002.mat", np.zeros((0, 0), np.uint8))
    return CLS / "2008_000002.mat"


def id_in_both_lists(root):
    path = VOC / "ImageSets/Segmentation/train.txt"
    (root / path).write_text("\n".join([*LISTS[str(path)], VAL[0]]))
    return path


def short_list(root):
    path = SBD / "val.txt"
    (root / path).write_text("\n".join(LISTS[str(path)][:-1]))
    return CLS / "2009_000001.mat"


def no_voc(root):
    (root / VOC).rename(root / "VOC2012")
    return VOC


def no_sbd(root):
    (root / SBD).rename(root / "SBD")
    return SBD


def no_folder_of_masks(root):
    (root / MASKS).rename(root / "masks")
    return MASKS


@pytest.mark.parametrize(
    "damage",
    [
        no_voc,
        no_sbd,
        no_folder_of_masks,
        delete(VOC / "ImageSets/Segmentation/val.txt"),
        delete(SBD / "train.txt"),
        delete(MASKS / "2008_000008.png"),
        delete(IMAGES / "2009_000001.jpg"),
        delete(CLS / "2008_000003.mat"),
        copy(MASKS / "2007_000033.png", MASKS / "2007_000039.png"),
        copy(CLS / "2008_000003.mat", CLS / "2008_000004.mat"),
        copy(SBD / "train.txt", CLS / "notes.txt"),
        short_list,
        id_in_both_lists,
        truncate(IMAGES / "2008_000002.jpg", 0.9),
        truncate(IMAGES / "2008_000002.jpg", 0.0),
        truncate(MASKS / "2007_000033.png", 0.7),
        truncate(CLS / "2008_000003.mat", 0.5),
        truncate(CLS / "2008_000003.mat", 0.0),
        mask(MASKS / "2007_000032.png", np.full((22, 31), 21, np.uint8)),
        mask(CLS / "2008_000003.mat", np.full((23, 31), 254, np.uint8)),
        mask(MASKS / "2007_000032.png", np.zeros((31, 22), np.uint8)),
        coloured_mask,
        mat_of_something_else,
        mat_of_wide_numbers,
        text_as_mat,
        other_size_of_mat,
        empty_mat,
    ],
)
def test_a_bad_source_is_named_in_one_line_and_nothing_is_written(source, tmp_path, damage):
    name = damage(source)
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", source, tmp_path / "data")
    assert str(error.value).startswith(f"{source / name}:")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def missing_from_the_list(root):
    (root / VOC / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join([*TRAIN, "2011_1"]))
    return "2011_1.png"


def not_in_the_list(root):
    (root / VOC / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join(TRAIN[:-1]))
    return f"{TRAIN[-1]}.png"


def stray_file(root):
    (root / VOC / "SegmentationClassAug/README").write_text("masks")
    return "README"


@pytest.mark.parametrize("damage", [missing_from_the_list, not_in_the_list, stray_file])
def test_bad_converted_masks_are_named(converted, tmp_path, damage):
    name = damage(converted)
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", converted, tmp_path / "data")
    assert str(error.value).startswith(f"{converted / VOC / 'SegmentationClassAug' / name}:")
    assert not (tmp_path / "data").exists()


def extra_mask(root):
    """A mask without an image."""
    masks = root / VOC / "SegmentationClassAug"
    (masks / "backup.png").write_bytes((masks / f"{TRAIN[0]}.png").read_bytes())
    return f"{root / IMAGES / 'backup.jpg'}: no such file, but its id is in the lists for train or"


def extra_image(root):
    """An image with a mask of SBD; only a list of all images shows that it is superfluous."""
    extra_mask(root)
    (root / IMAGES / "backup.jpg").write_bytes((root / IMAGES / f"{TRAIN[0]}.jpg").read_bytes())
    return "to see which images are too many, put a list of all in"


@pytest.mark.parametrize("damage", [extra_mask, extra_image])
def test_images_that_are_too_many_are_named(converted, tmp_path, damage):
    reason = damage(converted)
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", converted, tmp_path / "data")
    assert reason in str(error.value)


def test_images_of_sbd_that_a_list_of_all_has_not_are_named(source, tmp_path, monkeypatch):
    (source / VOC / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join(TRAIN[:-1]))
    monkeypatch.setattr(voc2012_aug, "SPLIT_SIZES", {"train": len(TRAIN) - 1, "val": len(VAL)})
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", source, tmp_path / "data")
    assert f"trainaug.txt: {TRAIN[-1]}" in str(error.value)


def test_several_missing_files_are_counted_and_the_first_are_named(source, tmp_path):
    for id_ in ("2009_000001", "2008_000002", "2008_000003", "2008_000009", "2008_000008"):
        (source / CLS / f"{id_}.mat").unlink()
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", source, tmp_path / "data")
    assert str(error.value).startswith(f"{source / CLS / '2008_000002.mat'}: no such file")
    assert "(5 such: 2008_000002.mat, 2008_000003.mat, 2008_000008.mat, ...)" in str(error.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 6, "val": 2}, "5 images for train; expected 6: VOC's "),
        ({"train": 5, "val": 1}, "2 images for val; expected 1: VOC's "),
        (voc2012_aug.SPLIT_SIZES, "5 images for train; expected 10582: VOC's "),
    ],
)
def test_other_counts_are_refused(source, tmp_path, monkeypatch, sizes, message):
    monkeypatch.setattr(voc2012_aug, "SPLIT_SIZES", sizes)
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", source, tmp_path / "data")
    assert str(error.value).startswith(f"{source}: {message}")
    assert "have 2 of 1464 for train and 2 of 1449 for val, and 3 of 9118" in str(error.value)
    assert not (tmp_path / "data").exists()


def listed(name, *ids):
    def write(root):
        path = root / VOC / "ImageSets/Segmentation" / name
        path.write_text("\n".join([*TRAIN, *ids]))
        return f"in {path}, but without a mask: {ids[0]}"

    return write


def pictured(folder, suffix):
    def write(root):
        (root / folder).mkdir(exist_ok=True)
        for name in (f"2010_000001{suffix}", f"{TRAIN[0]}{suffix}", "Thumbs.db"):
            (root / folder / name).touch()
        return f"in {root / folder}, but in no list: 2010_000001"

    return write


def nowhere(root):
    path = root / VOC / "ImageSets/Segmentation/trainaug.txt"
    return f"to see which images are missing, put a list of all in {path}"


@pytest.mark.parametrize(
    "tell",
    [
        listed("trainaug.txt", "2010_000001"),
        listed("trainaug.txt", "2010_000001", "2010_000002"),
        listed("trainval.txt", "2010_000001"),
        pictured(SBD / "img", ".jpg"),
        pictured(SBD / "inst", ".mat"),
        pictured(VOC / "SegmentationObject", ".png"),
        nowhere,
    ],
)
def test_missing_images_are_named_where_the_archives_tell_of_them(
    source, tmp_path, monkeypatch, tell
):
    expected = tell(source)
    monkeypatch.setattr(voc2012_aug, "SPLIT_SIZES", {"train": 6, "val": 2})
    with pytest.raises(InputError) as error:
        data.prepare("voc2012_aug", source, tmp_path / "data")
    assert f"3 of 9118 have a mask of SBD alone; {expected}" in str(error.value)
    assert "\n" not in str(error.value)
