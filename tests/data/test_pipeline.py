import re
import subprocess
import sys

import grain
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sassn_jax.data import TrainTransform, train_batches
from sassn_jax.errors import InputError
from tests.data.sources import noise, numbered


def batches(
    workers=0,
    labeled=None,
    unlabeled=None,
    seed=0,
    batch_size=4,
    part=0,
    parts=1,
    **settings,
):
    return train_batches(
        noise(6) if labeled is None else labeled,
        unlabeled,
        transform=TrainTransform(**{"crop_size": (16, 16), "scale": (0.8, 1.2)} | settings),
        batch_size=batch_size,
        seed=seed,
        workers=workers,
        part=part,
        parts=parts,
    )


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for stream in one:
            for field in ("image", "label"):
                np.testing.assert_array_equal(one[stream][field], other[stream][field])


def numbers(batch, stream="labeled"):
    return [int(image[0, 0, 0]) for image in batch[stream]["image"]]


@pytest.fixture
def iterator():
    made = []

    def make(**settings):
        made.append(batches(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_batch_has_both_streams_in_the_shapes_of_the_network(iterator):
    batch = next(iterator(unlabeled=noise(9)))
    assert set(batch) == {"labeled", "unlabeled"}
    for stream in batch.values():
        assert stream["image"].shape == (4, 16, 16, 3)
        assert stream["label"].shape == (4, 16, 16)
        assert stream["image"].dtype == np.float32
        assert stream["label"].dtype == np.int32


@pytest.mark.parametrize("unlabeled", [None, noise(0)])
def test_without_unlabelled_images_there_is_no_such_stream(iterator, unlabeled):
    assert set(next(iterator(unlabeled=unlabeled))) == {"labeled"}


def test_unlabelled_images_need_no_masks(iterator):
    batch = next(iterator(unlabeled=noise(5, masks=False)))
    assert (batch["unlabeled"]["label"] == 255).all()
    assert (batch["labeled"]["label"] != 255).any()


def test_no_labelled_image_is_an_error():
    with pytest.raises(ValueError, match="at least one image"):
        batches(labeled=noise(0))


def test_every_epoch_shows_each_image_once_in_another_order(iterator):
    source = numbered(12)
    walk = iterator(labeled=source, crop_size=(6, 7), scale=(1.0, 1.0))
    epochs = [[i for batch in take(walk, 3) for i in numbers(batch)] for _ in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_are_full_where_the_source_is_smaller_than_a_batch(iterator):
    walk = iterator(labeled=numbered(3), crop_size=(6, 7), scale=(1.0, 1.0), batch_size=4)
    shown = [i for batch in take(walk, 3) for i in numbers(batch)]
    assert sorted(shown) == sorted(list(range(3)) * 4)


def test_an_image_is_transformed_anew_each_time(iterator):
    walk = iterator(labeled=noise(1, size=(40, 40)), batch_size=1)
    shown = {batch["labeled"]["image"].tobytes() for batch in take(walk, 8)}
    assert len(shown) == 8


def test_the_seed_alone_says_what_comes(iterator):
    ours, same, other = (take(iterator(seed=seed), 5) for seed in (1, 1, 2))
    assert_same(ours, same)
    assert not np.array_equal(ours[0]["labeled"]["image"], other[0]["labeled"]["image"])


def test_the_labelled_stream_does_not_depend_on_the_unlabelled_one(iterator):
    alone = take(iterator(), 5)
    beside = take(iterator(unlabeled=noise(9)), 5)
    assert_same(alone, [{"labeled": batch["labeled"]} for batch in beside])


def test_the_two_streams_draw_differently(iterator):
    batch = next(iterator(unlabeled=noise(6)))
    assert not np.array_equal(batch["labeled"]["image"], batch["unlabeled"]["image"])


def test_position_and_content_are_the_same_for_any_number_of_workers(iterator):
    plain = iterator(unlabeled=noise(9))
    expected = take(plain, 3)
    position = plain.get_state()
    expected += take(plain, 4)

    workers = iterator(unlabeled=noise(9), workers=2)
    assert_same(take(workers, 5), expected[:5])
    workers.set_state(position)  # back, with the workers running
    assert_same(take(workers, 4), expected[3:])

    beyond = take(plain, 2)
    plain.set_state(workers.get_state())
    assert_same(take(plain, 2), beyond)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_batch_are_the_batch_in_order(iterator, parts):
    whole = take(iterator(unlabeled=noise(9)), 5)  # over two epochs of the labelled images
    of_each = [take(iterator(unlabeled=noise(9), part=i, parts=parts), 5) for i in range(parts)]
    joined = [
        {
            stream: {
                field: np.concatenate([part[stream][field] for part in of_one_step])
                for field in ("image", "label")
            }
            for stream in of_one_step[0]
        }
        for of_one_step in zip(*of_each, strict=True)
    ]
    assert_same(joined, whole)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_outside_the_classes_is_one_line_from_any_worker(iterator, workers):
    walk = iterator(unlabeled=noise(9), workers=workers, num_classes=4)  # `noise` has five
    with pytest.raises(InputError) as error:
        take(walk, 3)
    assert type(error.value) is InputError
    assert re.fullmatch(
        r"image 'image_\d': class id 4; expected 0 to 3 or 255 \(ignore\); "
        r"correct the mask or the classes \(\d+ of 600 pixels\)",
        str(error.value),
    )


def test_batches_made_ahead_do_not_count_as_taken(iterator):
    walk = iterator()
    walk.start_prefetch()
    first = take(walk, 1)
    walk.close()
    assert_same(first + take(walk, 2), take(iterator(), 3))


def test_orbax_saves_and_restores_the_position_beside_a_state(iterator, tmp_path):
    walk = iterator(unlabeled=noise(9))
    take(walk, 3)
    with ocp.CheckpointManager(tmp_path.resolve()) as manager:
        manager.save(
            3,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave({"weight": jnp.ones(2)}),
                data=grain.checkpoint.CheckpointSave(walk),
            ),
        )
        manager.wait_until_finished()
    expected = take(walk, 2)

    other = iterator(unlabeled=noise(9))
    with ocp.CheckpointManager(tmp_path.resolve()) as manager:
        restored = manager.restore(
            3,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore({"weight": jnp.zeros(2)}),
                data=grain.checkpoint.CheckpointRestore(other),
            ),
        )
    assert restored.data is other
    assert_same(take(other, 2), expected)


PROGRAM = """
from sassn_jax.data import TrainTransform, load, train_batches

if __name__ == "__main__":
    walk = train_batches(
        load("scenes").splits["train"], None,
        transform=TrainTransform((96, 96)), batch_size=2, seed=0, workers={workers})
    next(walk), next(walk)
    {end}
    print("done")
"""


@pytest.mark.parametrize(("workers", "end"), [(0, "pass"), (2, "walk.close()"), (2, "pass")])
def test_a_program_ends_without_a_word(tmp_path, workers, end):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(workers=workers, end=end))
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stdout == "done\n"
    assert done.stderr == ""
