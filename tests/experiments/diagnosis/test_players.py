import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.diagnosis.players import discriminator_losses, gradient_norms
from sassn_jax import methods
from sassn_jax.recipes import override, parse
from tests.experiments.diagnosis.conftest import CLASSES, make_batch
from tests.training.conftest import make_networks_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture
def config(monkeypatch):
    make_networks_tiny(monkeypatch)
    return override(parse(tiny_config("sassn")), {"loss.lambda_adv_unlabeled": 0.0})


def test_losses_of_d(config):
    method, batch = methods.create(config, CLASSES), make_batch()
    batch["labeled"]["label"] = batch["labeled"]["label"].at[0, :9].set(255)
    batch["unlabeled"]["label"] = batch["unlabeled"]["label"].at[1, 20:].set(255)
    state = method.init(jax.random.key(0), batch)
    shown = discriminator_losses(method, state, batch)

    def judged(probabilities):
        return np.asarray(method.confidence(state, jnp.asarray(probabilities)))

    def loss(fake, real):
        return -(np.log(1 - judged(fake)[known]).mean() + np.log(judged(real)[known]).mean()) / 2

    labels = np.asarray(batch["labeled"]["label"])
    known = labels != 255
    truth = (np.arange(CLASSES) == labels[..., None]).astype(np.float32)
    soft = np.asarray(method.predict(state.generator.variables, batch["labeled"]["image"]))
    hard = (np.arange(CLASSES) == soft.argmax(-1)[..., None]).astype(np.float32)
    sure = soft.max(-1)[known].mean()
    smooth = np.where(truth == 1, sure, (1 - sure) / (CLASSES - 1)) * known[..., None]
    np.testing.assert_allclose(shown["as trained"], loss(soft, truth), rtol=1e-4)
    np.testing.assert_allclose(shown["predictions one-hot"], loss(hard, truth), rtol=1e-4)
    np.testing.assert_allclose(shown["truth as soft"], loss(soft, smooth), rtol=1e-4)

    soft = np.asarray(method.predict(state.generator.variables, batch["unlabeled"]["image"]))
    labels = np.asarray(batch["unlabeled"]["label"])
    right, known = soft.argmax(-1) == labels, labels != 255
    confidence = judged(soft)
    for name, pixels in (("right", known & right), ("wrong", known & ~right)):
        np.testing.assert_allclose(
            shown[f"confidence where {name}"], confidence[pixels].mean(), rtol=1e-4
        )


@pytest.mark.slow  # a gradient for each term
def test_norms_of_gradients(config):
    method, batch = methods.create(config, CLASSES), make_batch()
    state = method.init(jax.random.key(0), batch)
    norms = gradient_norms(config, CLASSES, state, batch)

    def norm(metric):
        gradients = jax.grad(lambda x: method.generator_objective(x, state, batch)[1][2][metric])
        leaves = jax.tree.leaves(gradients(state.generator.params))
        return np.sqrt(sum(np.sum(np.square(x)) for x in leaves))

    expected = {
        "labels": norm("loss/cross_entropy"),
        "loss.lambda_adv_labeled": 0.01 * norm("loss/adversarial_labeled"),
        "loss.lambda_semi": 0.1 * norm("loss/self_training"),
    }
    assert norms == pytest.approx(expected, rel=1e-3)
