"""What all commands share: a user's mistake is one line on standard error and exit code 2."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from sassn_jax.errors import InputError, TrainingError


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main`, and ends the program."""

    def quiet_main(_: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # Orbax tells of every file at INFO
        try:
            main()
        except (InputError, OSError) as error:
            _stop(error, 2)
        except TrainingError as error:
            _stop(error, 1)
        except KeyboardInterrupt:
            _stop("stopped; the same command goes on from the last checkpoint", 130)

    app.run(quiet_main, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        _stop(error, 2)
    if len(rest) > 1:
        _stop(f"{rest[1]!r}: expected flags only, such as --workdir=DIR", 2)
    return rest


def _stop(reason: object, code: int) -> None:
    text = " ".join(str(reason).split())
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr)
    sys.exit(code)
