"""What teaches, class by class: counted in training, and read from what a run has logged.

What is logged of a batch are shares of all its pixels, so that their mean over several batches is
the share of all of these. Pixels whose class is not known count nowhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from experiments.diagnosis.teaching import Targets
from sassn_jax.methods.state import Metrics

EDGES = (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99)  # each bin of trust begins with one of them


def count(targets: Targets, labels: Int[Array, "B H W"], num_classes: int) -> Metrics:
    """Returns shares of all pixels of a batch, as a run logs them.

    Args:
      targets: of its unlabelled images.
      labels: true classes. A pixel with another number, such as an ignored one, is not known.
      num_classes: C.

    Returns:
      For class 3 `watched/truth_3`, pixels of the class; `found_3`, those taken for it; `hit_3`,
      both; `passed_3` and `passed_hit_3`, the part of the last two that passes the mask. For the
      second bin of trust `trust_1` and `trust_hit_1`, the pixels in it, and those that are right.
    """
    known = (labels >= 0) & (labels < num_classes)
    right = known & (targets.found == labels)

    def share(pixels: Bool[Array, "B H W"]) -> Float[Array, ""]:
        return jnp.mean((known & pixels).astype(jnp.float32))

    shares: Metrics = {}
    for i in range(num_classes):
        found = targets.found == i
        shares |= {
            f"truth_{i}": share(labels == i),
            f"found_{i}": share(found),
            f"hit_{i}": share(found & right),
            f"passed_{i}": share(found & targets.passes),
            f"passed_hit_{i}": share(found & targets.passes & right),
        }
    of_bin = jnp.digitize(targets.trust, jnp.asarray(EDGES[1:]))
    for i in range(len(EDGES)):
        shares[f"trust_{i}"] = share(of_bin == i)
        shares[f"trust_hit_{i}"] = share((of_bin == i) & right)
    return {f"watched/{name}": value for name, value in shares.items()}


def read(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what each line of `metrics.jsonl` with such shares says, ready for JSON.

    Args:
      rows: the lines.
      class_names: of the dataset.

    Returns:
      For each line its `step`; under `classes`, by name, `true` and `predicted`, shares of all
      pixels; `recall` and `iou` of all predictions; `teaches`, the share of all pixels that pass
      the mask as this class, and `right`, the share of these that are right; and under `trust` for
      each bin where it begins (`from`), its `share` of all pixels and the share of these that are
      `right`. A share of no pixels is None.
    """
    return [_row(row, class_names) for row in rows if row.get("watched/truth_0") is not None]


def _row(row: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    known = sum(row[f"watched/truth_{i}"] for i in range(len(class_names)))
    classes = {}
    for i, name in enumerate(class_names):
        truth, found, hit, passed, passed_hit = (
            row[f"watched/{kind}_{i}"] for kind in ("truth", "found", "hit", "passed", "passed_hit")
        )
        classes[name] = {
            "true": _ratio(truth, known),
            "predicted": _ratio(found, known),
            "recall": _ratio(hit, truth),
            "iou": _ratio(hit, truth + found - hit),
            "teaches": _ratio(passed, known),
            "right": _ratio(passed_hit, passed),
        }
    trust = []
    for i, edge in enumerate(EDGES):
        pixels, hit = row[f"watched/trust_{i}"], row[f"watched/trust_hit_{i}"]
        trust.append({"from": edge, "share": _ratio(pixels, known), "right": _ratio(hit, pixels)})
    return {"step": row["step"], "classes": classes, "trust": trust}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
