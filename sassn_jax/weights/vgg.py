"""A VGG-16's weights under torchvision's names."""

from collections.abc import Mapping, Sequence

import numpy as np
from einops import rearrange

from sassn_jax.weights.matching import LEAVES

# Places in torchvision's two `Sequential`s, where ReLU, pooling and dropout have theirs.
FIRST_OF_STAGES = (0, 5, 10, 17, 24)
FULLY_CONNECTED = {"fc6": "classifier.0", "fc7": "classifier.3"}
SIDE = 7  # of the last stage's map in the classifier, which fc6 takes whole


def torchvision_name(path: Sequence[str]) -> str:
    """The name that torchvision gives to a leaf of the tree of a network on a VGG-16.

    >>> torchvision_name(("backbone", "conv2_1", "kernel"))
    'features.5.weight'
    >>> torchvision_name(("backbone", "fc6", "bias"))
    'classifier.0.bias'
    """
    _, module, leaf = path
    name = FULLY_CONNECTED.get(module)
    if name is None:
        stage, conv = map(int, module.removeprefix("conv").split("_"))
        name = f"features.{FIRST_OF_STAGES[stage - 1] + 2 * (conv - 1)}"
    return f"{name}.{LEAVES.get(leaf, leaf)}"


def as_convolutions(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays of a file with the fully connected layers' as kernels of convolutions, OIHW.

    A matrix of another size than such a layer's is left as it is.
    """
    sides = {
        f"{FULLY_CONNECTED[layer]}.weight": side for layer, side in (("fc6", SIDE), ("fc7", 1))
    }
    return {
        name: rearrange(array, "o (c i j) -> o c i j", i=sides[name], j=sides[name])
        if name in sides and array.ndim == 2 and array.shape[1] % sides[name] ** 2 == 0
        else array
        for name, array in arrays.items()
    }
