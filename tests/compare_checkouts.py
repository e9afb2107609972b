"""Trains every method for a few steps from two checkouts, and compares all bits of what they save.

    python tests/compare_checkouts.py OLD NEW --workdir=DIR [--methods=sassn,mittal]

Without NEW, only what OLD has to do is done.

Each method takes three steps on `scenes`, with one device and with two, by the command of its own
checkout; beside them a run is killed with SIGKILL after a checkpoint and started again. The
checkpoints are read with Orbax alone, so that neither checkout's code takes part in the comparison.
The exit code is 1 if an array of any final state, or a number in `metrics.jsonl` or `eval_val.json`
that does not measure time, differs. Runs that are complete in DIR are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

METHODS = (
    "supervised", "advsemiseg", "advsemiseg_code", "sa", "sn", "sassn", "sa1", "sa2", "sa1_sn",
    "sa2_sn", "fcn8s", "dilation", "s4gan", "mittal", "cutmix", "unimatch", "unimatch_sassn",
)  # fmt: skip
FIELDS = {
    "batch_size": 4,
    "crop_size": (64, 64),
    "num_steps": 3,
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 1,
    "loss.semi_start": 1,
}
KILLED = {**FIELDS, "num_steps": 12, "eval_every": 12, "checkpoint_every": 2}
KILLED_AT = 4  # the run is killed once this checkpoint is there
OF_TIME = ("images_per_second", "input_wait")


def main() -> None:
    """Runs what is not there yet, and prints a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2)  # Orbax wants those of which it reads arrays
    sides = [side for side in ("old", "new") if getattr(arguments, side)]
    failed = False
    for method in arguments.methods.split(","):
        for devices in (1, 2):
            runs = []
            for side in sides:
                workdir = arguments.workdir.absolute() / side / f"{method}_{devices}"
                start(getattr(arguments, side), workdir, method, FIELDS, devices).check()
                runs.append(workdir)
            if arguments.new:
                failed |= report(f"{method}, devices: {devices}", *runs)
    whole, killed = (arguments.workdir.absolute() / name for name in ("old/whole", "new/killed"))
    start(arguments.old, whole, "sassn", KILLED, 1).check()
    if arguments.new:
        kill_and_go_on(arguments.new, killed)
        failed |= report("sassn, killed in the new checkout", whole, killed)
    sys.exit(failed)


class Run:
    """A process that trains, or none where the run is complete."""

    def __init__(self, process: subprocess.Popen | None):
        """Keeps the process."""
        self.process = process

    def check(self) -> None:
        """Waits, and ends the program where the run failed."""
        if self.process and self.process.wait():
            sys.exit(f"{' '.join(map(str, self.process.args))}: failed")


def start(checkout: Path, workdir: Path, method: str, fields: dict, devices: int) -> Run:
    """Starts the training command of a checkout."""
    if (workdir / "eval_val.json").exists():
        return Run(None)
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
    }
    command = [
        sys.executable,
        "-m",
        "experiments.train",
        f"--config=configs/scenes.py:method={method},labels=1/8",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{workdir}.log", "a") as log:
        return Run(subprocess.Popen(command, cwd=checkout, env=environment, stdout=log, stderr=log))


def kill_and_go_on(checkout: Path, workdir: Path) -> None:
    """Kills a run after a checkpoint, and lets the same command finish it."""
    if not workdir.exists():
        run = start(checkout, workdir, "sassn", KILLED, 1)
        while run.process and run.process.poll() is None:
            if (workdir / "checkpoints" / str(KILLED_AT)).exists():
                run.process.kill()
                run.process.wait()
                break
            time.sleep(0.02)
        if (workdir / "eval_val.json").exists():
            sys.exit(f"{workdir}: ended before it could be killed")
    start(checkout, workdir, "sassn", KILLED, 1).check()


def report(name: str, old: Path, new: Path) -> bool:
    """Compares two workdirs, and returns whether they differ."""
    before, after = contents(old), contents(new)
    differing = sorted(
        key
        for key in before.keys() | after.keys()
        if before.get(key) is None or before[key] != after.get(key)
    )
    arrays = sum(key.startswith("state.") for key in before)
    verdict = f"differ: {', '.join(differing[:5])}" if differing else "the same bits"
    print(f"{name}: {arrays} arrays, {len(before) - arrays} numbers: {verdict}", flush=True)
    return bool(differing)


def contents(workdir: Path) -> dict[str, tuple]:
    """The arrays of a run's last checkpoint and its logged numbers, by name, as bits."""
    folder = workdir / "checkpoints"
    last = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    tree = ocp.StandardCheckpointer().restore(folder / str(last) / "state")
    result = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        result[f"state.{name}"] = (array.dtype.name, array.shape, array.tobytes())
    for row in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
        for name, value in row.items():
            if name not in OF_TIME:
                result[f"metrics of step {row['step']}: {name}"] = (value,)
    scores = json.loads((workdir / "eval_val.json").read_text())
    result["eval_val.json"] = (json.dumps(scores, sort_keys=True),)
    return result


if __name__ == "__main__":
    main()
