"""What is wrong in a command line, said in one line for users."""

import re
import sys

from absl import flags
from ml_collections import ConfigDict

# What other programs call a field of the config.
OTHER_NAMES = {
    "batch": "batch_size",
    "epochs": "num_steps",
    "imgsz": "crop_size",
    "iterations": "num_steps",
    "lr": "optimizer.lr",
    "lr0": "optimizer.lr",
    "steps": "num_steps",
}


def first_cause(error: Exception, config: ConfigDict | None = None) -> str:
    """Returns the cause of an error without what absl and ml_collections wrap around it.

    Args:
      error: of reading the flags.
      config: the fields that can be given; None for all that a config file may set.
    """
    if "has no attribute 'get_config'" in str(error):
        return "--config: the file has no get_config; expected a function as in configs/scenes.py"
    if isinstance(error, KeyError | AttributeError):
        field = re.findall(r"\w+", str(error))[0]
        guess = re.search(r'Did you mean "(\w+)"', str(error))
        given = (re.match(rf"--config\.([\w.]+\.){field}\b", word) for word in sys.argv)
        group = next((match[1] for match in given if match), "")
        hint = f"did you mean {group}{guess[1]}?" if guess else _field_hint(field, config)
        hint = hint or f"see {'docs/configuration.md' if config is None else '--help'}"
        return f"--config has no field {group}{field}; {hint}"
    text = str(error).strip()
    if "Traceback" in text:  # of a config file; the last line has the error
        return "--config: " + re.sub(r"^[\w.]+Error: ", "", text.splitlines()[-1])
    missing = re.findall(r"Flag (--\w+) must have a value other than None", text)
    if missing:
        return f"{', '.join(missing)}: not given; see --help"
    wrong = re.fullmatch(
        r"flag (--\S+=.*): (?:invalid literal for int|could not convert string).*", text
    )
    if wrong:
        return f"{wrong[1]}: expected a {'whole ' if 'int()' in text else ''}number"
    unknown = re.fullmatch(
        r"Unknown command line flag '(.+?)'(?:\. Did you mean: ([\w.]+).*)?", text
    )
    if unknown:
        hint = f"did you mean --{unknown[2]}?" if unknown[2] else "see --help"
        fields = flags.FLAGS["config"].value if "config" in flags.FLAGS else None
        if isinstance(fields, ConfigDict):
            hint = _field_hint(unknown[1], fields, "--config.") or hint
        return f"--{unknown[1]}: there is no such flag; {hint}"
    return text.removeprefix("flag ")


def _field_hint(name: str, config: ConfigDict | None, prefix: str = "") -> str:
    """Asks whether a config's fields of this name, in any group, were meant; empty without any."""
    if config is None:
        from sassn_jax.recipes import default_config  # JAX takes seconds

        config = default_config()
    wanted = OTHER_NAMES.get(name, name)
    fields: list[str] = []
    for field, value in config.items():
        is_group = isinstance(value, ConfigDict)
        fields += [f"{field}.{inner}" for inner in value] if is_group else [field]
    meant = [prefix + field for field in fields if f".{field}".endswith(f".{wanted}")]
    return f"did you mean {' or '.join(meant)}?" if meant else ""
