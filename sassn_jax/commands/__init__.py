"""The commands: `sassn VERB`, or `python -m experiments.VERB` in the project's checkout."""

import importlib
import importlib.metadata
import signal
import sys

VERBS = {
    "train": "trains a network, or goes on with a run that was stopped",
    "evaluate": "scores a run, or an exported file, on a split of its dataset",
    "predict": "predicts photos and videos, or writes masks to train from",
    "report": "writes a page about one or more runs, to be sent to a colleague",
    "export": "writes a run's network to one file",
    "import_weights": "turns other people's weights into a file that training can start from",
    "prepare": "prepares a dataset, once, so that training can read it",
    "inspect": "looks at a dataset before a run: its numbers, a picture, likely mistakes",
}


def main() -> None:
    """Runs the command whose name is the first argument; the remaining arguments are its flags.

    Only that command's module is imported, since all of them define flags of the same names.
    """
    verb, *arguments = sys.argv[1:] or ["help"]
    if verb in VERBS:
        end_by_interrupt()
        sys.argv = [f"sassn {verb}", *arguments]
        importlib.import_module(f"{__name__}.{verb}").run()
    elif verb == "--version":
        print(importlib.metadata.version("sassn_jax"))
    elif verb in ("help", "--help", "-h"):
        print(_usage())
    else:
        expected = f"expected one of {', '.join(VERBS)}; see sassn --help"
        print(f"sassn: {verb!r}: {expected}", file=sys.stderr)
        sys.exit(2)


def end_by_interrupt() -> None:
    """Lets Ctrl-C end the process without a traceback, as long as it imports, which takes seconds.

    `command.run` sets handlers of its own afterwards.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _usage() -> str:
    verbs = "\n".join(f"  {verb:15} {what}" for verb, what in VERBS.items())
    return f"""sassn VERB --FLAG=VALUE ...; sassn VERB --help lists the flags, sassn --version

{verbs}

For a folder of your own images/ and labels/:

  sassn inspect --config=configs/folder.py:path=FOLDER,method=sassn
  sassn train --config=configs/folder.py:path=FOLDER,method=sassn --workdir=runs/mine
  sassn predict --workdir=runs/mine --input=PHOTOS --output=predicted"""
