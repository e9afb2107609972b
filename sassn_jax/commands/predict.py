"""Predicts photos and videos: sassn predict --workdir=DIR --input=FOLDER --output=DIR.

In a checkout, `python -m experiments.predict` is the same command. --workdir can also name a file
that `sassn export` wrote. --input is a file, a folder, or a pattern in quotes: '--input=a/*.jpg'.

For each photo it writes a PNG file of class ids under the same name, with a palette of colours.
Files whose results are there are skipped, unless the photo is newer or the network, its --config
or --threshold have changed. Of a video it writes a video in which the colours of the classes lie
over the frames.

Masks to train from, 255 where the network is less sure than --threshold:
  sassn predict --workdir=DIR --input=DATA/images --output=DATA/labels --as_labels --threshold=0.9

Images are shown to the network as in scoring, unless --config.eval.window, --config.eval.stride,
--config.eval.mirror, --config.eval.scales or --config.eval_batch_size say otherwise. Photos of more
than --config.files.max_pixels, and links out of the folder without --config.files.follow_links, are
refused.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import get_override_values

from sassn_jax.commands import command

SHOWN = 10  # classes


def run() -> None:
    """Runs the command."""
    from sassn_jax.recipes import default_config  # imports JAX, as the other commands do later

    defaults = default_config()
    fields = ("eval", "eval_batch_size", "files")
    config = command.define_config(ConfigDict({name: defaults[name] for name in fields}))
    workdir = command.define_path(
        "workdir", None, "Folder of the run, or a file of sassn export.", required=True
    )
    source = command.define_path("input", None, "File, folder or pattern.", required=True)
    output = command.define_path("output", None, "Folder for the results.", required=True)
    flags.DEFINE_bool("overlays", False, "Also overlays/: photos with colours and a legend.")
    flags.DEFINE_bool("probabilities", False, "Also probabilities/: of all classes, as .npz.")
    flags.DEFINE_bool("confidence", False, "Also confidence/: the discriminator's, as a heat map.")
    flags.DEFINE_bool("as_labels", False, "Write masks to train from; replace none that exists.")
    threshold = flags.DEFINE_float(
        "threshold", None, "Less probable pixels are 255; 0.9 with --as_labels, otherwise 0."
    )
    max_memory = flags.DEFINE_float("max_memory", 4.0, "GiB that an image may take, about.")
    checkpoint = command.define_checkpoint()

    def main() -> None:
        chosen = flags.FLAGS
        least = threshold.value
        if least is None:
            least = 0.9 if chosen.as_labels else 0.0
        _predict(
            command.required(workdir),
            command.required(source),
            command.required(output),
            checkpoint.value,
            get_override_values(chosen[config.name]),
            {
                "overlays": chosen.overlays,
                "probabilities": chosen.probabilities,
                "confidence": chosen.confidence,
                "as_labels": chosen.as_labels,
                "threshold": least,
            },
            max_memory.value,
        )

    command.run(main, "run it again, and it goes on with the files that are left")


def _predict(
    workdir: str,
    source: str,
    output: str,
    checkpoint: str,
    overrides: dict[str, Any],
    wanted: dict[str, Any],
    max_memory: float,
) -> None:
    from sassn_jax.prediction.files import predict_files
    from sassn_jax.prediction.finding import find_files
    from sassn_jax.prediction.outputs import Outputs
    from sassn_jax.prediction.run import load_run

    outputs = Outputs(**wanted)

    def note(line: str) -> None:
        print(line, file=sys.stderr)

    run = load_run(workdir, checkpoint, overrides)
    files = find_files(source, output, note, run.config.files)
    began = time.perf_counter()
    with command.progress("predicting") as show:
        outcome = predict_files(
            run,
            files,
            output,
            outputs,
            max_memory=max_memory,
            on_file=show,
            on_note=note,
        )
    seconds = time.perf_counter() - began
    for line in outcome.failed:
        print(line, file=sys.stderr)
    photos = outcome.predicted - outcome.frames
    counts = {"images": photos, "frames": outcome.frames}
    done = [f"{count} {what}" for what, count in counts.items() if count] or ["0 images"]
    rate = outcome.predicted / seconds
    parts = [f"{' and '.join(done)} in {seconds:.1f} s, {rate:.1f} a second"]
    if outcome.skipped:
        parts.append(f"{outcome.skipped} files skipped, whose results are there")
    if outcome.masked:
        parts.append(f"{outcome.masked} photos skipped, which have a mask in labels/")
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} files failed")
    print(f"{output}: {'; '.join(parts)}")
    if outputs.threshold and outcome.predicted:
        print(_shares(run.info.class_names, outcome.pixels, outcome.sure, outputs.threshold))
    if outcome.failed:
        sys.exit(1)


def _shares(
    names: Sequence[str], pixels: Mapping[int, int], sure: Mapping[int, int], threshold: float
) -> str:
    """Returns which share of each class a threshold leaves, and of at most `SHOWN` the least."""
    shares = sorted((sure[id_] / count, id_) for id_, count in pixels.items() if count)
    named = ", ".join(f"{names[id_]} {share:.0%}" for share, id_ in shares[:SHOWN])
    which = f"the {SHOWN} classes with the least" if len(shares) > SHOWN else "each class"
    return (
        f"threshold={threshold:g}, below which pixels are 255, leaves of the pixels of {which}: "
        f"{named}"
    )
