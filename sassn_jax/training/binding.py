"""The fields of a config that a run fixes when it begins."""

from pathlib import Path
from typing import Any

from flax import traverse_util

from sassn_jax.config import Config

# Fields that say how a run is carried out and do not change its result.
UNBINDING = (
    "loader_workers",
    "max_unreadable",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep",
    "eval_batch_size",
    "profile",
    "debug_nans",
    "data_dir",
    "source",
    "files.max_pixels",
    "files.follow_links",
    "eval.pad_to",
    "eval.window",
    "eval.stride",
    "eval.scales",
    "eval.mirror",
    "parallel.shard_params",
)


def binding(config: Config) -> dict[str, Any]:
    """Returns the fields that a run fixes, by dotted name.

    Of the file of weights it is the name, since the file may stand in another folder elsewhere.
    """
    fields = traverse_util.flatten_dict(config.to_dict(), sep=".")
    fields["model.weights"] = Path(config.model.weights).name
    return {name: value for name, value in fields.items() if name not in UNBINDING}


def differences(stored: Config, config: Config) -> list[str]:
    """Returns in words in which of these fields a config differs from a stored one, in order."""
    before, now = binding(stored), binding(config)
    return [
        f"{field} was {before.get(field)!r}, is {now.get(field)!r}"
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field)
    ]
