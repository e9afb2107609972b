"""The page on own data, walked as it is written, on a folder of every kind of photo."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import odd_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own-data.md"
# A run of seconds in place of one of hours.
SMALL = {
    "train": [
        "--config.model.backbone=resnet_tiny",
        "--config.model.aspp_rates=(1, 2)",
        "--config.crop_size=(33, 33)",
        "--config.batch_size=2",
        "--config.num_steps=2",
        "--config.loss.semi_start=1",
        "--config.eval_every=2",
        "--config.checkpoint_every=2",
        "--config.eval_batch_size=8",
    ]
}


def commands() -> dict[str, list[str]]:
    """The first command of each verb on the page, as the arguments of `sassn`."""
    found: dict[str, list[str]] = {}
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for block in (text for language, text in fences if not language):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("sassn "):
                verb, *flags = shlex.split(line)[1:]
                flags = [flag for flag in flags if "=FILE" not in flag]  # weights of the reader's
                found.setdefault(verb, [verb, *flags, *SMALL.get(verb, [])])
    return found


def sassn(folder: Path, arguments: list[str], code: int = 0) -> str:
    """Runs a command as from the checkout, and returns all that it prints."""
    program = "from sassn_jax.commands import main; main()"
    result = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    output = result.stdout + result.stderr
    assert result.returncode == code, (arguments, output)
    assert "Traceback" not in output
    return output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the photos in `photos/`, where commands run as in the checkout."""
    place = tmp_path_factory.mktemp("walk")
    (place / "configs").symlink_to(ROOT / "configs")
    odd_folder.make(place / "photos")
    return place


def test_from_photos_to_a_deployed_network(place):
    page = commands()
    assert list(page) == ["inspect", "train", "evaluate", "predict", "report", "export", "prepare"]
    faults = odd_folder.BROKEN | odd_folder.STRAY

    seen = sassn(place, page["inspect"], code=1)
    refused = sassn(place, page["train"], code=2)
    for fault in faults:
        assert re.search(rf"\b{fault}\.(png|jpg)", seen), fault
        assert re.search(rf"\b{fault}\.(png|jpg)", refused), fault
    assert not (place / "runs").exists()

    for path in [path for id_ in odd_folder.STRAY for path in (place / "photos").rglob(f"{id_}.*")]:
        path.unlink()

    seen = sassn(place, page["inspect"], code=1)
    assert seen.count("note: left out, ") == len(odd_folder.BROKEN)
    look = json.loads((place / "look" / "inspect.json").read_text())
    assert look
    with Image.open(place / "look" / "inspect.png") as picture:
        picture.load()

    trained = sassn(place, page["train"])
    assert "3 classes" in trained
    for fault in odd_folder.BROKEN:
        assert re.search(rf"note: left out, .*\b{fault}\.(png|jpg)", trained), fault
    scores = sassn(place, page["evaluate"])
    assert all(name in scores for name in odd_folder.CLASSES)

    failed = sassn(place, page["predict"], code=1)
    assert all(re.search(rf"\b{fault}\.(png|jpg)", failed) for fault in odd_folder.BROKEN)
    for path in (place / "photos" / "images").rglob("*.*"):
        if path.name.startswith(".") or path.stem in odd_folder.BROKEN:
            continue
        mask = (place / "predicted" / path.relative_to(place / "photos" / "images")).with_suffix(
            ".png"
        )
        with Image.open(path) as image, Image.open(mask) as ids:
            shown = image.size[::-1] if path.stem == "turned" else image.size
            assert ids.size == shown, path
            assert np.asarray(ids).max() < len(odd_folder.CLASSES)

    sassn(place, page["report"])
    assert "<html" in (place / "report.html").read_text()
    assert "compared with the run" in sassn(place, page["export"])
    assert json.loads((place / "model.json").read_text())["names"] == list(odd_folder.CLASSES)
    sassn(place, page["prepare"])
