"""A damaged checkpoint is found, set aside, and the one before it used."""

import gc
import os
import random
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import processes
from sassn_jax.data import BatchIterator, train_batches
from sassn_jax.errors import InputError, Notice, UnfitError, UnreadableError
from sassn_jax.methods import TrainState
from sassn_jax.prediction.run import load_run
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.stored import Stored
from sassn_jax.training.workdir import Workdir
from tests.data.sources import numbered
from tests.training.conftest import assert_equal_bits, tiny_config

STEPS = (0, 3, 6)
# Orbax reads arrays at the same time; when one fails, it drops the errors of the others.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def dropped_errors():
    """Has them dropped within the test that caused them."""
    yield
    gc.collect()


def some_batches() -> BatchIterator:
    """Batches of a run, as far as a checkpoint knows of them."""

    def transform(example, rng):
        return {"image": example["image"].astype(np.float32)}

    return train_batches(numbered(3), None, transform=transform, batch_size=1, seed=0)


def some_state(step: int = 0) -> TrainState:
    numbers = np.random.default_rng(step).standard_normal((30, 5, 7), np.float32)
    return TrainState(
        step=jnp.int32(step),
        rng=jax.random.key(step),
        generator={"kernel": jnp.asarray(numbers), "half": jnp.asarray(numbers, jnp.bfloat16)},
        discriminator={"count": jnp.int32(step), "empty": {}},
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A workdir with checkpoints of three steps."""
    workdir = tmp_path_factory.mktemp("saved")
    batches = some_batches()
    with Checkpoints(Workdir(workdir), keep=3) as checkpoints:
        for step in STEPS:
            batches.seek(step)
            checkpoints.save(some_state(step), batches, 0.5 if step else None)
    return workdir


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """The checkpoints of a copy of it."""
    return shutil.copytree(saved, tmp_path / "run") / "checkpoints"


def restore(folder: Path, *, read_only: bool = False) -> tuple[TrainState, bytes, list[str]]:
    """Returns what a run would go on with, and the lines that it would print."""
    lines: list[str] = []
    batches = some_batches()
    with Checkpoints(Workdir(folder.parent), read_only=read_only) as checkpoints:
        state = checkpoints.restore_latest(some_state(), batches, lines.append)
    return state, batches.get_state(), lines


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def truncate(checkpoint: Path) -> None:
    largest = max(files_of(checkpoint), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def lose_a_file(checkpoint: Path) -> None:
    (checkpoint / "state" / "manifest.ocdbt").unlink()


def lose_the_record(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "record")


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def take_another(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.with_name("3"), checkpoint)


def take_another_state(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "state")
    shutil.copytree(checkpoint.with_name("3") / "state", checkpoint / "state")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, ""),
        (lose_a_file, ""),
        (lose_the_record, "metadata not found"),
        (empty, ""),
        (take_another, "it is of step 3"),
        (take_another_state, "step has changed"),
    ],
)
def test_the_one_before_takes_its_place(folder, damage, reason):
    damage(folder / "6")
    state, position, lines = restore(folder, read_only=True)
    assert_equal_bits(state, some_state(3))
    assert sorted(os.listdir(folder)) == ["0", "3", "6"]
    [line] = lines
    assert "set aside" not in line

    state, position, lines = restore(folder)
    assert_equal_bits(state, some_state(3))
    assert position == b'{"step": 3}'
    assert sorted(os.listdir(folder)) == ["0", "3", "damaged_6"]
    [line] = lines
    assert line.startswith(f"{folder / '6'}: is damaged (")
    assert reason in line
    assert line.endswith(" and set aside as damaged_6; the checkpoint of step 3 takes its place")
    assert "\n" not in line
    assert restore(folder)[2] == []  # the next time


def test_a_run_saves_again_what_was_set_aside(folder):
    for name in ("damaged_6", "damaged_6_2"):
        empty(folder / "6")
        batches = some_batches()
        with Checkpoints(Workdir(folder.parent)) as checkpoints:
            checkpoints.restore_latest(some_state(), batches, print)
            assert checkpoints.latest_step == 3
            checkpoints.save(some_state(6), batches, None)
        assert (folder / name).is_dir()
        assert restore(folder)[2] == []


def test_where_none_is_whole_nothing_is_changed(folder):
    for step in STEPS:
        empty(folder / str(step))
    for _ in range(2):
        with pytest.raises(InputError, match="checkpoints: no checkpoint is whole") as error:
            restore(folder)
        assert "\n" not in str(error.value)
        assert sorted(os.listdir(folder)) == ["0", "3", "6"]


def test_another_network_is_no_damage(folder):
    wanted = some_state().replace(generator={"kernel": jnp.zeros(4), "half": jnp.zeros(4)})
    with (
        Checkpoints(Workdir(folder.parent)) as checkpoints,
        pytest.raises(InputError, match=r"another network: generator.half is bfloat16\[30, 5, 7\]"),
    ):
        checkpoints.restore_latest(wanted, None, print)
    assert sorted(os.listdir(folder)) == ["0", "3", "6"]


def test_checkpoints_of_an_earlier_version_are_named(folder):
    for step in STEPS:
        (folder / str(step) / "record").rename(folder / str(step) / "batches")
    with pytest.raises(InputError, match=r"without checksums, of an earlier version"):
        restore(folder)
    assert sorted(os.listdir(folder)) == ["0", "3", "6"]


def test_a_folder_left_by_a_killed_save_is_removed(folder):
    shutil.copytree(folder / "6", folder / "9.orbax-checkpoint-tmp")
    assert restore(folder)[2] == []
    assert sorted(os.listdir(folder)) == ["0", "3", "6"]


def flip_bits(folder: Path, trials: int, seed: int) -> dict[str, int]:
    """Flips one bit at a time of the latest checkpoint; counts what came of it."""
    random_ = random.Random(seed)
    latest = folder / "6"
    files = [path for path in files_of(latest) if path.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    expected = {6: some_state(6), 3: some_state(3)}
    counts = {"equal": 0, "set aside": 0}
    for _ in range(trials):
        [path] = random_.choices(files, sizes)
        content = path.read_bytes()
        place, bit = random_.randrange(len(content)), random_.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        where = f"{path.relative_to(folder)}, byte {place}, bit {bit}"
        state, position, lines = restore(folder)
        found = bool(lines)
        step = 3 if found else 6
        try:
            assert_equal_bits(state, expected[step])
        except AssertionError as error:
            raise AssertionError(where) from error
        assert position == f'{{"step": {step}}}'.encode(), where
        if found:
            assert re.fullmatch(r".*/6: is damaged \(.*; the checkpoint of step 3 .*", lines[0])
            (folder / "damaged_6").rename(latest)
        counts["set aside" if found else "equal"] += 1
        path.write_bytes(content)
    return counts


def test_a_flipped_bit_is_found_or_harmless(folder):
    counts = flip_bits(folder, 20, seed=0)
    assert counts["set aside"] > 10


@pytest.mark.slow
def test_many_flipped_bits_are_found_or_harmless(folder):
    counts = flip_bits(folder, 400, seed=1)
    assert counts["set aside"] > 200


def damage_run(workdir: Path, step: int) -> None:
    """Flips a bit of a file without which no array is found; in others some bits are of no use."""
    path = workdir / "checkpoints" / str(step) / "state" / "manifest.ocdbt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("small_runs", "tiny_networks")
def test_a_run_goes_on_from_the_one_before_to_the_same_bits(workdir, capsys):
    config = tiny_config("supervised")
    config.num_steps = config.eval_every = 2
    config.checkpoint_every = 1
    undisturbed = train_and_evaluate(config, workdir)
    damage_run(workdir, 2)
    with pytest.warns(Notice, match=r"checkpoints/2: is damaged .*; the checkpoint of step 1"):
        assert load_run(workdir).step == 1
    with pytest.raises(InputError, match=r"checkpoints/2: is damaged .*; take the latest"):
        load_run(workdir, "best")
    capsys.readouterr()
    assert_equal_bits(undisturbed, train_and_evaluate(config, workdir))
    assert "2: is damaged" in capsys.readouterr().out
    assert sorted(os.listdir(workdir / "checkpoints")) == ["1", "2", "damaged_2"]
    assert load_run(workdir).step == 2


def test_a_damaged_record_names_itself(folder):
    path = folder / "6" / "record" / "metadata"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with Checkpoints(Workdir(folder.parent)) as checkpoints:
        assert checkpoints.best_step == 3
        with pytest.raises(UnreadableError, match=r"6: is damaged \(its record has changed\)"):
            checkpoints.restore(some_state(), 6)


def test_a_checkpoint_is_whole_until_it_is_damaged(folder):
    truncate(folder / "6")
    lose_the_record(folder / "3")
    with Checkpoints(Workdir(folder.parent), read_only=True) as checkpoints:
        assert [checkpoints.stored(step).is_whole() for step in STEPS] == [True, False, False]


@pytest.mark.parametrize(
    ("of_all", "kind", "message"),
    [([1], UnreadableError, "is damaged"), ([3], UnfitError, "cannot be read by process 1")],
)
def test_what_another_process_finds_is_found_here(folder, monkeypatch, of_all, kind, message):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "union", lambda mine, count: of_all)
    stored = Stored(step=0, path=folder / "0", alias=folder / "0")
    with pytest.raises(kind, match=message):
        stored.check_whole()
