"""Commands in processes of their own that need not import JAX again, which takes them a second."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from sassn_jax.commands import main

ROOT = Path(__file__).parents[2]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sassn_jax.recipes", "sassn_jax.data.inspection"])


def run(module: str, *arguments: str) -> subprocess.CompletedProcess:
    """Does what `python -m MODULE ARGUMENTS`, or `sassn ARGUMENTS`, does in the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("out", "err")]
        process = _CONTEXT.Process(target=_call, args=(module, arguments, *paths))
        process.start()
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([module, *arguments], 300)
        out, err = (Path(path).read_text() for path in paths)
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, out, err)


def _call(module: str, arguments: tuple[str, ...], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    sys.argv = [module, *arguments]
    if module == "sassn":
        main()
        return
    runpy.run_module(module, run_name="__main__", alter_sys=True)
