"""Commands: `python -m experiments.VERB`."""

import sys

from sassn_jax.commands import end_by_interrupt

if sys.argv[0] == "-m":  # Python calls it so while it looks for the module of the command
    end_by_interrupt()
