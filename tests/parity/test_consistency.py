"""Training steps of CutMix and of UniMatch against PyTorch autograd."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.consistency import UniMatchWeights, WeakToStrong
from sassn_jax.methods.cutmix import CutMix, CutMixWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.unimatch import UniMatch
from tests.methods.conftest import TinyGenerator
from tests.parity.test_step import CLASSES, SIZE, make_batch, to_torch_batch
from tests.trees import assert_trees_close, random_variables

pytestmark = pytest.mark.usefixtures("fast_compile")

BRIGHTER = (2.0, 0.5)  # what the strong views are, in place of chance
EMA = 0.9


def boxes():
    """One for each image of the two views."""
    drawn = np.zeros((2, 2, *SIZE), bool)
    drawn[0, 0, 3:20, 5:50] = drawn[0, 1, 10:, :17] = drawn[1, 0, :40, 30:] = True
    return drawn


def both(torch, reference, norm, seed):
    """The same network twice, with the same variables."""
    ours = TinyGenerator(CLASSES, norm=norm)
    variables = random_variables(ours, jnp.zeros((1, *SIZE, 3)), seed=seed, train=False)
    theirs = torch.nn.Sequential()
    theirs.add_module("conv", torch.nn.Conv2d(3, 16, 5, padding=2, bias=False))
    theirs.add_module("bn", reference.networks.Norm(16, norm))
    theirs.add_module("relu", torch.nn.ReLU())
    theirs.add_module("head", torch.nn.Conv2d(16, CLASSES, 1))
    stats = {"stats": variables["batch_stats"]}
    reference.to_torch(theirs, variables["params"], stats)
    return ours, variables, theirs


def filled_batch():
    batch = make_batch(0)
    valid = np.ones((2, *SIZE), bool)
    valid[0, 30:] = valid[1, :, 50:] = False
    batch["unlabeled"]["valid"] = valid
    return batch


def in_the_widest_gap(confidence):
    """A threshold that about half of the pixels pass, none of them by a rounding error."""
    values = np.sort(confidence.numpy().ravel())
    middle = values[2 * len(values) // 5 : 3 * len(values) // 5]
    widest = np.argmax(np.diff(middle))
    return float(middle[widest : widest + 2].mean())


def mixed(torch, x, inside):
    """Each image with the box of the other pasted in."""
    inside = torch.from_numpy(inside).view(2, *(1,) * (x.ndim - 3), *SIZE)
    return torch.where(inside, x.flip(0), x)


def take_a_step(method, variables, batch, teacher=None):
    network = NetworkState.create(method.generator.optimizer, variables)
    state = TrainState(jnp.int32(0), jax.random.key(0), generator=network, teacher=teacher)
    return jax.jit(method.step)(state, jax.tree.map(jnp.asarray, batch))


def assert_same_step(reference, new, theirs, before, tolerance=1e-4):
    """By how far parameters went, and where statistics are."""

    def moved(after):
        return jax.tree.map(lambda x, y: np.float64(x) - y, after, before["params"])

    wanted = reference.from_torch(theirs, new.params)
    assert_trees_close(moved(new.params), moved(wanted), tolerance)
    for tree in new.collections.values():
        assert_trees_close(tree, reference.from_torch(theirs, tree), tolerance)


def test_cutmix(torch, reference, monkeypatch):
    """Statistics frozen, as the authors train DeepLab."""
    ours, variables, student = both(torch, reference, "frozen", seed=1)
    _, of_teacher, teacher = both(torch, reference, "frozen", seed=2)
    batch, (inside, _) = filled_batch(), boxes()
    theirs = to_torch_batch(batch, torch)
    images, valid = theirs["unlabeled"]["image"], torch.from_numpy(batch["unlabeled"]["valid"])
    with torch.no_grad():
        targets = mixed(torch, teacher.train()(images).softmax(1), inside)
    confidence = targets.amax(1)
    threshold = in_the_widest_gap(confidence)

    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    student.train()
    labels = theirs["labeled"]["label"]
    entropy = torch.nn.functional.cross_entropy(
        student(theirs["labeled"]["image"]), labels, ignore_index=255
    )
    distance = ((student(mixed(torch, images, inside)).softmax(1) - targets) ** 2).sum(1)
    share = (confidence >= threshold).float().mean()
    consistency = (distance * mixed(torch, valid, inside) * share).mean()
    (entropy + 3 * consistency).backward()
    optimizer.step()
    followed = copy.deepcopy(teacher)
    for mine, its in zip(followed.parameters(), student.parameters(), strict=True):
        mine.data.mul_(EMA).add_((1 - EMA) * its.data)

    monkeypatch.setattr("sassn_jax.methods.cutmix.half_boxes", lambda *_: jnp.asarray(inside))
    method = CutMix(
        Segmenter(ours, optax.sgd(0.1)),
        CutMixWeights(EMA, lambda_consistency=3.0, threshold=threshold),
    )
    new, metrics = take_a_step(method, variables, batch, of_teacher)
    assert float(share) == pytest.approx(0.5, abs=0.12)
    assert float(metrics["loss/cross_entropy"]) == pytest.approx(float(entropy.detach()), rel=1e-4)
    assert float(metrics["loss/consistency"]) == pytest.approx(
        float(consistency.detach()), rel=1e-4
    )
    assert_same_step(reference, new.generator, student, variables)
    wanted = reference.from_torch(followed, new.teacher["params"])
    assert_trees_close(new.teacher["params"], wanted, 1e-5)


def test_unimatch(torch, reference, monkeypatch):
    """Each view with batch statistics of its own; targets by the running ones."""
    ours, variables, theirs = both(torch, reference, "batch", seed=1)
    batch, drawn = filled_batch(), boxes()
    of_torch = to_torch_batch(batch, torch)
    images, valid = of_torch["unlabeled"]["image"], torch.from_numpy(batch["unlabeled"]["valid"])
    with torch.no_grad():
        confidence, target = theirs.eval()(images).softmax(1).max(1)
    threshold = in_the_widest_gap(confidence)

    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    theirs.train()
    functional = torch.nn.functional
    supervised = functional.cross_entropy(
        theirs(of_torch["labeled"]["image"]), of_torch["labeled"]["label"], ignore_index=255
    )

    def loss(view, target, confidence, valid):
        entropy = functional.cross_entropy(theirs(view), target, reduction="none")
        return (entropy * ((confidence >= threshold) & valid)).sum() / valid.sum()

    features = loss(images, target, confidence, valid)
    strong = [
        loss(
            mixed(torch, factor * images, inside),
            *(mixed(torch, x, inside) for x in (target, confidence, valid)),
        )
        for factor, inside in zip(BRIGHTER, drawn, strict=True)
    ]
    total = (supervised + 0.4 * sum(strong) + 0.7 * features) / 2
    total.backward()
    optimizer.step()

    module, views, places = "sassn_jax.methods.consistency", iter(BRIGHTER), iter(drawn)
    monkeypatch.setattr(f"{module}.strong_view", lambda _, x, *__: next(views) * x)
    monkeypatch.setattr(f"{module}.random_boxes", lambda *_: jnp.asarray(next(places)))
    monkeypatch.setattr("sassn_jax.models.generator.PERTURBATION", 0.0)
    method = UniMatch(
        Segmenter(ours, optax.sgd(0.1)),
        WeakToStrong(UniMatchWeights(threshold, 0.4, 0.7), Normalize()),
    )
    new, metrics = take_a_step(method, variables, batch)
    wanted = {
        "loss/cross_entropy": supervised,
        "loss/features": features,
        "loss/strong1": strong[0],
        "loss/strong2": strong[1],
        "loss/generator": total,
    }
    for name, value in wanted.items():
        assert float(metrics[name]) == pytest.approx(float(value.detach()), rel=1e-4), name
    assert_same_step(reference, new.generator, theirs, variables)
