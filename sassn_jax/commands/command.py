"""What all commands share: a user's mistake gives one line on standard error and exit code 2."""

import _thread
import collections
import contextlib
import functools
import io
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sassn_jax.commands.mistakes import first_cause
from sassn_jax.errors import SIGNALS, InputError, Notice, StoppedError, TrainingError
from sassn_jax.files import expanded
from sassn_jax.terminal import flush_output, make_console

HELP = {"--help", "-help", "-h", "--helpshort", "--helpfull"}
NO_DEFAULT = r"\n *\(default: '(|None|\[\])'\)"  # a line of absl that tells a user nothing
TRAINING_GOES_ON = "the same command goes on from the last checkpoint, if there is one"
GOES_ON = 75  # EX_TEMPFAIL of sysexits.h: run it again
LINE_EVERY = 15.0  # seconds between two lines of progress

flags.disclaim_key_flags()  # flags defined through this module belong to the command that does so


def define_config(config: ConfigDict) -> flags.FlagHolder[ConfigDict]:
    """Defines a flag `--config.FIELD` for each field of `config`.

    `ml_collections` reads the command line already here, so a wrong field ends the program here.
    """
    _replace_what_cannot_be_encoded()
    try:
        return config_flags.DEFINE_config_dict("config", config, "Values of single fields.")
    except Exception as error:
        _stop(first_cause(error, config), 2)


def define_path(
    name: str, default: str | None, help_text: str, *, required: bool = False
) -> flags.FlagHolder[Any]:
    """Defines a flag that names a file or a folder; `~` at its start is a home folder."""
    return flags.DEFINE(_PathParser(), name, default, help_text, required=required)


def define_checkpoint() -> flags.FlagHolder[str]:
    """Defines the flag that chooses one of a run's checkpoints."""
    return flags.DEFINE_string("checkpoint", "latest", "latest, or best: of the best mIoU on val.")


class _PathParser(flags.ArgumentParser[str]):
    def parse(self, argument: str) -> str:
        return argument and str(expanded(argument))


def run(
    main: Callable[[], None] | Mapping[str, Callable[[], None]], when_stopped: str = ""
) -> None:
    """Parses the flags, calls `main`, and ends the program.

    Args:
      main: raises `InputError` or `OSError` for a mistake of the user. Or one such function for
        each word that can stand before the flags; one of the words must.
      when_stopped: how the same command goes on after a signal has stopped it; empty if it does
        not. The exit code is 75 if it does, as of `EX_TEMPFAIL`; otherwise 128 + the signal's
        number.
    """
    _replace_what_cannot_be_encoded()
    mains = main if isinstance(main, Mapping) else {"": main}

    def quiet_main(words: Sequence[str]) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` does with SIGHUP
                signal.signal(number, _raise_interrupt)
        sys.unraisablehook = _raise_interrupt_again
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # of the last arguments
        logging.set_verbosity(logging.FATAL)  # Orbax logs every file, and every error twice
        try:
            mains["".join(words[1:])]()
            flush_output()
        except (InputError, OSError) as error:
            for line in getattr(error, "details", ()):
                print(line, file=sys.stderr)
            _stop(_as_flag(_message(error)), 2)
        except TrainingError as error:
            _stop(error, 1)
        except KeyboardInterrupt as error:
            number = error.args[0] if isinstance(error, _Interrupt) else signal.SIGINT
            reason = "; ".join(filter(None, ("stopped", when_stopped)))
            code = GOES_ON if when_stopped else 128 + number
            _stop(error if isinstance(error, StoppedError) else reason, code)

    app.run(quiet_main, flags_parser=functools.partial(_parse, mains=mains))


class _Interrupt(KeyboardInterrupt):
    """A signal, whose number is the argument."""


def _raise_interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupt(number)


def _message(error: InputError | OSError) -> str:
    """Returns the message of an error; Python's own would begin with a number, as in [Errno 2]."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _as_flag(message: str) -> str:
    """Writes the flag where a message begins with the name of an argument or a config's field."""
    found = re.match(r"([\w.]+)=", message)
    if not found:
        return message
    value = message[found.end() :]  # of the flag, unless a file has such a name
    if found[1] in flags.FLAGS:
        given = flags.FLAGS[found[1]].value
        return f"--{message}" if value.startswith((repr(given), str(given))) else message
    part: Any = flags.FLAGS["config"].value if "config" in flags.FLAGS else None
    for name in found[1].split("."):
        if not isinstance(part, ConfigDict) or name not in part:
            return message
        part = part[name]
    return f"--config.{message}" if value.startswith((repr(part), str(part))) else message


def _replace_what_cannot_be_encoded() -> None:
    """Prints `?` instead: a terminal may have ASCII only, and a file's name need not be UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _raise_interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Repeats a signal that came where Python drops it, such as a callback of the collector.

    Prints nothing of other errors: those of TensorStore's threads also reach the main thread.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and issubclass(lost.exc_type, KeyboardInterrupt):
        number = lost.exc_value.args[0] if isinstance(lost.exc_value, _Interrupt) else signal.SIGINT
        # A little later, on a busy machine too: one within this function would be dropped as well.
        threading.Timer(0.1, _thread.interrupt_main, (number,)).start()


def required(flag: flags.FlagHolder[str | None]) -> str:
    """Returns the value of a flag that must have one."""
    if not flag.value:
        raise InputError(f"--{flag.name}: not given; see --help")
    return flag.value


def warn(text: str) -> None:
    """Prints a warning, which stops nothing, on standard error."""
    print(f"{Path(sys.argv[0]).stem}: warning: {text}", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    *where: Any,
    show: Callable[..., None] = warnings.showwarning,
) -> None:
    """Prints a notice as a user should read it, other warnings as Python does."""
    if issubclass(category, Notice):
        warn(str(message))
    else:
        show(message, category, filename, lineno, *where)


def check_names(flag: flags.FlagHolder[list[str]], allowed: Collection[str]) -> None:
    """Checks a flag that lists names.

    Raises:
      InputError: listing what is allowed.
    """
    for name in flag.value or [""]:
        if name not in allowed:
            raise InputError(f"--{flag.name}: {name!r}: expected some of {', '.join(allowed)}")


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows progress on standard error: a bar on a terminal, lines elsewhere.

    Yields a function that takes the number of parts done and the number of all parts.
    """
    console = make_console(stderr=True, soft_wrap=True)
    last = time.monotonic()

    def print_line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            console.print(f"{name}: {done}/{total}")

    if not console.is_terminal:
        yield print_line
        return
    # No thread redraws the bar: while TFDS is imported, it replaces `__import__` for all threads.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(name)
        yield lambda done, total: bar.update(task, completed=done, total=total, refresh=True)


def _parse(arguments: Sequence[str], mains: Mapping[str, Callable[[], None]]) -> list[str]:
    if HELP.intersection(arguments):
        module = next(iter(mains.values())).__module__
        _, _, described = flags.FLAGS.module_help(module).partition(":\n")
        described = re.sub(NO_DEFAULT, "", described)
        print((sys.modules[module].__doc__ or "").rstrip(), "\nflags:", described, sep="\n")
        sys.exit(0)
    try:
        arguments = [_with_config_file(argument) for argument in arguments]
        rest = flags.FLAGS(arguments)
    except Exception as error:  # a config file is a program, and may fail in any way
        _stop(first_cause(error), 2)
    _check_tuples(arguments)
    words = rest[1:]
    if "" in mains and words:
        _stop(f"{words[0]!r}: expected flags only, such as --workdir=DIR", 2)
    if "" not in mains and (len(words) != 1 or words[0] not in mains):
        _stop(f"{' '.join(words)!r}: expected one of {', '.join(mains)}, then flags", 2)
    return rest


def _with_config_file(argument: str) -> str:
    """Returns an argument; if it is --config, checks that its file exists and expands `~`."""
    flag, equals, value = argument.partition("=")
    if flag != "--config":
        return argument
    if not equals:
        _stop(f"--config: expected =FILE after it, such as --config={_config_files()}", 2)
    name, colon, rest = value.partition(":")
    path = expanded(name)
    if path.suffix != ".py" or not path.is_file():
        _stop(f"{argument}: expected a file such as {_config_files()}, then :key=value,...", 2)
    # A config may import files beside it, and configs/voc.py does so as configs.common.
    sys.path += map(str, path.resolve().parents[:2])
    return f"{flag}={path}{colon}{rest}"


def _check_tuples(arguments: Sequence[str]) -> None:
    """Ends the program if a tuple is given twice, since ml_collections would join the two."""
    names = (word.partition("=")[0].lstrip("-") for word in arguments if word.startswith("-"))
    for name, count in collections.Counter(names).items():
        is_tuple = name.startswith("config.") and isinstance(flags.FLAGS[name], flags.MultiFlag)
        if is_tuple and count > 1:
            _stop(f"--{name}: given {count} times; expected once, with all of its values", 2)


def _config_files() -> str:
    paths = sorted(Path("configs").glob("[!_]*.py"))
    names = [str(path) for path in paths if path.stem != "common"]
    return ", ".join(names or ["configs/scenes.py (in the checkout, not in this folder)"])


def _stop(reason: object, code: int) -> NoReturn:
    text = " ".join(str(reason).split())
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr, flush=True)
    flush_output()
    os._exit(code)  # at once: threads that were writing would each print a traceback
