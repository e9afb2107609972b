"""The command `plan`: its mistakes, and what it finds with a compiler for GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import described_gpu
from experiments.described_gpu import planning
from sassn_jax.errors import InputError

ROOT = Path(__file__).parents[2]
GPU = described_gpu.GPUS["rtx3060"]
TINY = (
    "--config=configs/scenes.py:method=sassn",
    "--config.crop_size=(33, 33)",
    "--config.batch_size=2",
    "--config.num_steps=10",
    "--config.loss.semi_start=4",
)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "experiments.plan", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*TINY, "--gpu=h100"),
            "plan: no compiler for GPUs in this Python environment: `make ",
        ),
        ((*TINY, "--gpu=v100"), "plan: --gpu=v100: expected one of h100, a100, rtx4090, rtx3060"),
        (("--gpu=h100",), "plan: --config: not given"),
        (
            (*TINY, "--gpu=h100", "--scaling=1,many"),
            "plan: --scaling=1,many: expected numbers of GPUs such as 1,8,64",
        ),
        (
            (*TINY, "--gpu=h100", "--output=nowhere/plan.json"),
            "plan: --output=nowhere/plan.json: there is no folder nowhere",
        ),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments, message, tmp_path):
    # An environment without the compiler, whatever is installed here.
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia" / "__init__.py").touch()
    result = command(*arguments, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


def has_compiler() -> bool:
    try:
        described_gpu.find_compiler()
    except InputError:
        return False
    return True


needs_compiler = pytest.mark.skipif(
    not has_compiler(), reason="no compiler for GPUs here; make gpu-check has it"
)


def figures_of(path: Path, *arguments: str) -> dict:
    result = command(*arguments, f"--output={path}")
    assert result.returncode == 0, result.stderr
    written = json.loads(path.read_text())
    assert [x["switches"] for x in written["tried"]] == [{}]
    return written


@pytest.mark.slow
@needs_compiler
def test_a_tiny_run_is_planned(tmp_path):
    written = figures_of(tmp_path / "plan.json", *TINY, "--gpu=rtx3060")
    (tried,) = written["tried"]
    found, first = tried["step"], written["first_step"]
    assert found["parameters"]["discriminator"] == 2_769_857
    assert set(found["flops"]) == {"tf32"}
    assert first["flops"]["tf32"] < found["flops"]["tf32"] < 2 * first["flops"]["tf32"]
    # The parameters and momenta at the least, and far less than what the card has.
    state = 4 * 3 * sum(found["parameters"].values())
    assert state < tried["memory"] < written["memory_of_gpu"] / 10
    assert 0 < found["attention"] < found["scratch"]
    # D's last kernel but one, its gradient and two moments are read, and three of them written; of
    # both the cache may hold a part.
    kernel = 4 * (4 * 4 * 256 * 512)
    assert found["traffic"] > 4 * kernel - GPU.l2_cache + 3 * kernel - GPU.l2_cache
    assert found["sent"] == {}


@pytest.mark.slow
@needs_compiler
def test_two_gpus_send_each_other_the_gradients(tmp_path):
    flags = (*TINY, "--gpu=h100", "--num_gpus=2", "--config.method=supervised")
    written = figures_of(tmp_path / "plan.json", *flags)
    step = written["first_step"]
    assert list(step["parameters"]) == ["generator"]
    gradients = 4 * step["parameters"]["generator"]
    assert set(step["sent"]) == {"all-reduce"}
    assert gradients < step["sent"]["all-reduce"]["size"] < 1.1 * gradients


@pytest.mark.slow
@needs_compiler
def test_more_gpus_send_sums_alone_and_with_shared_parameters_each_takes_less(tmp_path):
    path = tmp_path / "plan.json"
    result = command(*TINY, "--gpu=h100", "--scaling=1,8,64", f"--output={path}")
    assert result.returncode == 0, result.stderr
    points = json.loads(path.read_text())["scaling"]
    whole, shared = ([x for x in points if x["shard_params"] == shard] for shard in (False, True))
    assert [x["num_gpus"] for x in whole] == [1, 8, 64]
    assert whole[0]["step"]["sent"] == {}
    gradients = 4 * sum(whole[0]["step"]["parameters"].values())
    for x in whole[1:]:
        assert set(x["step"]["sent"]) == {"all-reduce"}
        # Sums of gradients; those of statistics are a hundredth of it.
        sums = x["step"]["sent"]["all-reduce"]["size"] / (2 * (1 - 1 / x["num_gpus"]))
        assert gradients < sums < 1.02 * gradients
        # Each takes its own images alone: those of all would take many times as much.
        assert x["memory"] == pytest.approx(whole[0]["memory"], rel=0.3)
    for x in shared:
        sent = {kind: of_kind["size"] for kind, of_kind in x["step"]["sent"].items()}
        assert set(sent) == {"all-gather", "reduce-scatter", "all-reduce"}
        share = 1 - 1 / x["num_gpus"]
        # Each parameter is gathered once. Its gradient is summed where its share lies; but for the
        # small arrays, which each GPU has whole.
        for kind in ("all-gather", "reduce-scatter"):
            assert 0.9 * share * gradients < sent[kind] < 1.1 * share * gradients
        assert sent["all-reduce"] < 0.1 * gradients
    states = [x["step"]["arguments"] for x in (whole[0], *shared)]
    assert states == sorted(states, reverse=True)
    assert shared[0]["memory"] < whole[1]["memory"]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("name", "images", "positions"), [("voc", 16, 41 * 41), ("cityscapes", 4, 65 * 129)]
)
def test_the_papers_recipes_fit_small_cards_in_bfloat16(tmp_path, name, images, positions):
    """Cards of 12 and 24 GiB, with nothing else changed, as docs/memory-and-speed.md says."""
    flags = (
        f"--config=configs/{name}.py:method=sassn",
        "--config.model.dtype=bfloat16",
        "--config.loss.semi_start=0",  # the same step, and no other to compile
        "--gpu=rtx3060",
    )
    written = figures_of(tmp_path / "plan.json", *flags)
    (tried,) = written["tried"]
    assert written["fits"]
    assert tried["memory"] <= planning.USABLE * described_gpu.GPUS["rtx3060"].memory
    assert tried["memory"] <= planning.USABLE * described_gpu.GPUS["rtx4090"].memory
    assert tried["step"]["parameters"]["generator"] > 50_000_000
    # The backward pass needs at least the values of SA1 and SA2; one of the N x N matrices of
    # Cityscapes is larger than all that attention has.
    bfloat16 = 2
    assert tried["step"]["attention"] > images * positions * (1024 + 2048) * bfloat16
    if name == "cityscapes":
        assert tried["step"]["attention"] < images * positions**2 * bfloat16
