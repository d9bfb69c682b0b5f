"""The training loop: what an epoch draws, what an evaluation counts, and same seed, same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments._user_error import UserError
from experiments.data import Split
from experiments.training import Trainer, progress_bar, to_unit_interval
from jaxconv import nn, softmax_cross_entropy


def noise(size, seed=0):
    """Images whose label is written into one bright row."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, size).astype(np.int32)
    images = rng.integers(0, 64, (size, 28, 28, 1), np.uint8)
    images[np.arange(size), 2 * labels] = 255
    return Split(images, labels)


def score(model, images, labels):
    logits = model(images)
    correct = (logits.argmax(-1) == labels).astype(jnp.float32)
    return {"loss": softmax_cross_entropy(logits, labels), "accuracy": correct}


def small_model(seed=0):
    rngs = nnx.Rngs(seed)
    return nnx.Sequential(
        nn.AvgPool((2, 2)), nn.Flatten(), nn.Dropout(0.5, rngs=rngs), nn.Linear(196, 10, rngs=rngs)
    )


def trainer(train, *, model=None, batch_size=20, seed=0):
    optimiser = optax.sgd(0.01, 0.9, nesterov=True)
    run = Trainer(score, optimiser, train, batch_size=batch_size)
    run.start(small_model() if model is None else model, seed=seed)
    return run


def test_loss_is_finite_and_falls():
    run = trainer(noise(200))
    losses = [run.epoch()["loss"] for _ in range(5)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def parameters(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(run.model, nnx.Param))]


@pytest.mark.parametrize("compiled_again", [False, True])
def test_same_seed_same_bits(compiled_again):
    first = trainer(noise(100), model=small_model(7), seed=7)
    losses, params = [first.epoch()["loss"] for _ in range(2)], parameters(first)
    second = trainer(noise(100)) if compiled_again else first
    second.start(small_model(7), seed=7)
    assert [second.epoch()["loss"] for _ in range(2)] == losses
    for a, b in zip(parameters(second), params, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_orders_the_images():
    first, second = (trainer(noise(100), seed=seed) for seed in (0, 1))
    assert first.epoch()["loss"] != second.epoch()["loss"]


def test_dropout_is_new_in_each_step_and_absent_in_evaluation():
    class Kept(nnx.Module):
        """The fraction that dropout keeps, as its loss; nothing to learn."""

        def __init__(self):
            self.dropout = nn.Dropout(0.5, rngs=nnx.Rngs(0))
            self.unused = nnx.Param(jnp.zeros(()))

        def __call__(self, images):
            return (self.dropout(jnp.ones((len(images), 31))) != 0).mean(axis=1)

    def kept(model, images, labels):
        return {"loss": model(images)}

    run = Trainer(kept, optax.sgd(0.1), noise(20), batch_size=10)
    run.start(Kept(), seed=0)
    fractions = {run.epoch()["loss"] for _ in range(4)}
    assert len(fractions) == 4
    assert all(0.3 < fraction < 0.7 for fraction in fractions)
    assert run.evaluate(noise(15)) == {"loss": 1.0}


class Bias(nnx.Module):
    """Its only parameter gathers the gradient; `score` below makes that the labels' mean."""

    def __init__(self):
        self.total = nnx.Param(jnp.zeros(()))

    def __call__(self, images):
        return jnp.broadcast_to(self.total[...], len(images))


def labels_as_gradient(model, images, labels):
    return {"loss": -model(images) * labels, "label": labels.astype(jnp.float32)}


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (12, 12), (4, 1)])
def test_epoch_uses_each_image_once(size, batch_size):
    train = Split(np.zeros((size, 28, 28, 1), np.uint8), 2 ** np.arange(size, dtype=np.int32))
    run = Trainer(labels_as_gradient, optax.sgd(1.0), train, batch_size=batch_size)
    run.start(Bias(), seed=0)
    assert run.images_per_epoch == size
    # n powers of two add up to 2ⁿ - 1 only if each of 1, 2, 4, … 2ⁿ⁻¹ is among them.
    np.testing.assert_allclose(run.epoch()["label"], train.labels.mean(), rtol=1e-6)
    total = float(run.model.total[...]) * batch_size
    np.testing.assert_allclose(total, train.labels.sum(), rtol=1e-6)


def test_remainder_is_left_out_of_an_epoch_but_not_of_an_evaluation():
    train = Split(np.zeros((7, 28, 28, 1), np.uint8), 3 ** np.arange(7, dtype=np.int32))
    run = Trainer(labels_as_gradient, optax.sgd(1.0), train, batch_size=3)
    run.start(Bias(), seed=0)
    assert run.images_per_epoch == 6
    left_out = {train.labels.sum() - round(6 * run.epoch()["label"]) for _ in range(5)}
    assert left_out <= set(train.labels)
    assert len(left_out) > 1
    np.testing.assert_allclose(run.evaluate(train)["label"], train.labels.mean(), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 19, 20, 41])
def test_evaluation_is_the_mean_over_all_images(size):
    run, split = trainer(noise(40)), noise(size, seed=1)
    expected = score(run.model, to_unit_interval(jnp.asarray(split.images)), split.labels)
    metrics = run.evaluate(split)
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], np.mean(values), rtol=1e-5)


def test_steps_are_those_of_the_optimiser():
    train = noise(10)
    model, reference = small_model(), small_model()
    model.layers[2].rate = reference.layers[2].rate = 0.0
    run = trainer(train, model=model, batch_size=10)
    run.epoch()

    images = to_unit_interval(jnp.asarray(train.images))
    definition, params = nnx.split(reference, nnx.Param, ...)[:2]
    others = nnx.split(reference, nnx.Param, ...)[2]

    def loss(params):
        return score(nnx.merge(definition, params, others), images, train.labels)["loss"].mean()

    optimiser = optax.sgd(0.01, 0.9, nesterov=True)
    updates, _ = optimiser.update(jax.grad(loss)(params), optimiser.init(params), params)
    expected = jax.tree.leaves(optax.apply_updates(params, updates))
    for a, b in zip(parameters(run), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_batch_larger_than_the_training_set():
    with pytest.raises(UserError, match="batch size 21 is not within 1 and the 20 training images"):
        trainer(noise(20), batch_size=21)


def test_progress_is_a_line_an_epoch_where_there_is_no_terminal(capsys):
    with progress_bar("standard", 2) as report:
        report({"loss": 0.5, "accuracy": 0.25, "images/s": 1234.5})
        report({"loss": 0.25, "accuracy": 0.5, "images/s": 1234.5})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "standard  1/2  loss 0.5000  accuracy 25.00%  1,234 images/s",
        "standard  2/2  loss 0.2500  accuracy 50.00%  1,234 images/s",
    ]
