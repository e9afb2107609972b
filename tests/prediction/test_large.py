"""Two photos of 108 megapixels are predicted within the 4 GiB that are allowed, and drawn."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

# The network takes next to nothing, so that this is the memory of all that is around it.
PROGRAM = """
import resource, sys
from pathlib import Path
import jax, numpy as np
from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.inference import Inference
from sassn_jax.prediction.images import as_rgb
from sassn_jax.prediction.outputs import Outputs
from sassn_jax.prediction.predicting import Predictor

path, output = map(Path, sys.argv[1:])
scores = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
info = DatasetInfo("toy", tuple("abcdefghi"), np.arange(27, dtype=np.uint8).reshape(9, 3))
network = jax.jit(lambda _, images: jax.nn.softmax(images @ scores / 30))
predictor = Predictor(network, None, info, Normalize(), Inference(), (321, 321), 8)
for result in predictor.stream(as_rgb(path) for _ in range(2)):
    Outputs(overlays=True).write(output, Path(path.name), result)
    del result
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # in KiB on Linux
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_a_photo_of_12000x9000_takes_less_than_4_gib(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    Image.fromarray(coarse).resize((12000, 9000)).save(tmp_path / "large.jpg")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "large.jpg"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) / 2**20 < 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(tmp_path / "out" / "large.png") as ids:  # reads its header alone
            assert ids.size == (12000, 9000)
