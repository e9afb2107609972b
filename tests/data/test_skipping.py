"""Images of prepared datasets that turn out to be damaged when they are read."""

import re
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.data import record_source, records, records_builder
from sassn_jax.data.images import encode_png
from sassn_jax.data.skipping import first_readable, tally_of
from sassn_jax.errors import InputError, UnreadableError
from tests.damage import flip_bit
from tests.data.test_records import Numbered

IMAGES, BATCH = 12, 4
DAMAGED = ("image_1", "image_7")


@dataclass(frozen=True)
class Noisy(Numbered):
    """Images whose pixels are random, apart from the first, which is the image's number."""

    train: int = IMAGES

    def read(self, split, id_):
        number = int(id_.removeprefix("image_"))
        image = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        image[0, 0] = number
        return encode_png(image), encode_png(np.full((20, 20), number % 2, np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A prepared dataset in files of 5 images."""
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 5)
    monkeypatch.setattr(record_source, "_PAUSE", 0.0)
    records.prepare("noisy", Noisy(), tmp_path)
    return tmp_path


def train(folder):
    return records.load("noisy", folder, {}).splits["train"]


def damage(folder, *ids):
    for id_ in ids:
        flip_bit(folder, Noisy().read("train", id_)[0])


@pytest.fixture
def walk():
    """Makes iterators over batches of a source, and closes them."""
    made = []

    def make(source, unlabeled=None, *, share=0.2, workers=0):
        batches = data.train_batches(
            source,
            unlabeled,
            transform=data.TrainTransform((20, 20), mirror=False),
            batch_size=BATCH,
            seed=1,
            workers=workers,
            max_unreadable=share,
        )
        made.append(batches)
        return batches

    yield make
    for batches in made:
        batches.close()


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def take(batches, count):
    """Returns the arrays of some batches, the numbers in the images, and what was skipped."""
    arrays, numbers, skipped = [], [], []
    for _ in range(count):
        batch = next(batches)
        arrays += [half[name] for half in batch.values() for name in ("image", "label")]
        numbers += [int(x[0, 0, 0]) for half in batch.values() for x in half["image"]]
        skipped.append(batches.take_skipped())
    return arrays, np.array(numbers), skipped


def test_another_image_takes_the_place_and_all_others_keep_theirs(folder, walk):
    _, before, nothing = take(walk(train(folder)), 9)
    assert not any(nothing)
    damage(folder, *DAMAGED)
    arrays, after, skipped = take(walk(train(folder)), 9)
    hit = np.isin(before, [1, 7])
    assert hit.sum() == 6  # three epochs
    np.testing.assert_array_equal(after[~hit], before[~hit])
    assert not np.isin(after, [1, 7]).any()
    assert len(set(after[hit])) > 2  # not the same image each time
    # The news comes with the batch, once for each place.
    ids = [[one.id for one in of_step] for of_step in skipped]
    assert [sorted(of_step) for of_step in ids] == [
        sorted(f"image_{number}" for number in of_step[of_hit])
        for of_step, of_hit in zip(before.reshape(9, BATCH), hit.reshape(9, BATCH), strict=True)
    ]
    file = re.escape(str(next(folder.rglob("*train.array_record-00000*"))))
    assert re.match(
        rf"{file}: damaged or missing \(image 'image_1' of train: .*hash mismatch.*\); remove ",
        next(one.reason for of_step in skipped for one in of_step if one.id == "image_1"),
    )
    again = take(walk(train(folder)), 9)
    assert_same(again[0], arrays)


def test_two_workers_and_a_start_in_the_middle_give_the_same(folder, walk):
    damage(folder, *DAMAGED)
    source = train(folder)
    expected, _, skipped = take(walk(source, source), 6)
    assert {one.kind for of_step in skipped for one in of_step} == {"labeled", "unlabeled"}
    workers = walk(source, source, workers=2)
    workers.seek(2)
    arrays, _, news = take(workers, 4)
    assert_same(arrays, expected[8:])
    assert news == skipped[2:]


def test_where_no_image_can_be_read_the_iterator_ends_with_one_line(folder, walk):
    source = train(folder)  # its files have been looked at
    damage(folder, *source.ids)
    with pytest.raises(
        InputError,
        match=r"; 3 of 12 labelled images cannot be read so far, and max_unreadable=0.2 lets 2 be",
    ):
        next(walk(source, share=0.2))
    with pytest.raises(InputError, match=r"of train: .*; remove .* and prepare the dataset again"):
        next(walk(source, share=0.2, workers=1))  # who looks at the files itself


def test_a_label_outside_the_classes_is_no_damage(folder, walk):
    """A mistake of the user stops the run, whatever share may be skipped."""
    source = train(folder)
    batches = data.train_batches(
        source,
        None,
        transform=data.TrainTransform((20, 20), num_classes=1),
        batch_size=BATCH,
        seed=1,
        max_unreadable=0.9,
    )
    with pytest.raises(InputError, match="class id 1; expected 0 to 0") as error:
        batches[0]
    assert not isinstance(error.value, UnreadableError)


def test_a_read_that_fails_for_a_moment_is_tried_again(folder, monkeypatch):
    path = next(folder.rglob("*train.array_record-00000*"))
    whole = path.read_bytes()
    source = train(folder)
    damage(folder, "image_1")
    with pytest.raises(UnreadableError):
        source[1]
    monkeypatch.setattr(record_source, "_PAUSE", 0.5)
    mending = threading.Timer(0.1, lambda: path.write_bytes(whole))
    mending.start()
    assert source[1]["image"][0, 0].tolist() == [1, 1, 1]
    mending.join()


def test_a_damaged_mask_is_found_too(folder):
    @dataclass(frozen=True)
    class NoisyMasks(Noisy):
        def read(self, split, id_):
            image, _ = super().read(split, id_)
            number = int(id_.removeprefix("image_"))
            label = np.random.default_rng(number).integers(0, 2, (20, 20), np.uint8)
            return image, encode_png(label)

    records.prepare("masks", NoisyMasks(), folder)
    flip_bit(folder / "masks", NoisyMasks().read("train", "image_3")[1])
    source = records.load("masks", folder, {}).splits["train"]
    with pytest.raises(UnreadableError, match="'image_3'"):
        source[3]
    assert source[2]["label"].max() == 1


def test_the_first_image_that_can_be_read(folder):
    damage(folder, "image_0", "image_1")
    source = train(folder)
    assert first_readable(source)["id"] == "image_2"
    damage(folder, *source.ids[2:])
    with pytest.raises(UnreadableError):
        first_readable(source)


@pytest.mark.parametrize(("share", "total", "allowed"), [(0.01, 99, 0), (0.01, 100, 1), (0, 9, 0)])
def test_a_tally_counts_each_image_once_and_ends_past_the_share(share, total, allowed):
    tally = tally_of("labeled", total, share)
    for i in range(allowed):
        assert tally.add(str(i), "FILE: damaged")
        assert not tally.add(str(i), "FILE: damaged")
    with pytest.raises(InputError, match=f"^FILE: damaged; {allowed + 1} of {total} labelled"):
        tally.add("one more", "FILE: damaged")
