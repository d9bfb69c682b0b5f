"""The training loop: batches, evaluation, averages, seeds, devices, and equal bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.command_line import UserError
from experiments.data import Split
from experiments.networks.layers import Layers
from experiments.training.steps import to_unit_interval
from experiments.training.trainer import Trainer
from jaxconv import nn, softmax_cross_entropy


def noise(size, seed=0):
    """Noisy images in which one bright row gives the label."""
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
    return Layers(
        pool=nn.AvgPool((2, 2)),
        flat=nn.Flatten(),
        dropout=nn.Dropout(0.5, rngs=rngs),
        out=nn.Linear(196, 10, rngs=rngs),
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
        """A model whose output is the fraction that dropout keeps."""

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
    """A model with one parameter, which sums up the gradients of the score below."""

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


def test_evaluation_is_the_mean_over_all_images():
    run = trainer(noise(40))
    for size in (1, 19, 20, 41):  # of batches of 20
        split = noise(size, seed=1)
        images = to_unit_interval(jnp.asarray(split.images))
        expected = nnx.jit(score)(run.model, images, split.labels)
        metrics = run.evaluate(split)
        for name, values in expected.items():
            np.testing.assert_allclose(metrics[name], np.mean(values), rtol=1e-5, err_msg=str(size))


def test_steps_are_those_of_the_optimiser():
    train = noise(10)
    model, reference = small_model(), small_model()
    model.dropout.rate = reference.dropout.rate = 0.0
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


@pytest.mark.parametrize("calls", [[1, 1, 1, 1, 1], [3, 2], [5]])
def test_same_bits_however_the_steps_are_shared_out(calls):
    whole = trainer(noise(100))
    expected = whole.epoch()["loss"]
    run = trainer(noise(100))
    for steps in calls:
        run.advance(steps)
    assert run.means()["loss"] == expected
    for a, b in zip(parameters(run), parameters(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_is_all_that_a_run_needs_to_go_on():
    run = trainer(noise(100))
    run.advance(7)  # into the second epoch
    other = trainer(noise(100), model=small_model(3), seed=3)
    other.resume(jax.tree.map(jnp.copy, run.state), run.steps_done)
    assert other.epoch()["loss"] == run.epoch()["loss"]
    for a, b in zip(parameters(other), parameters(run), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # in turn, and side by side
def test_seeds_at_once_are_the_seeds_one_by_one(platform, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    seeds = [3, 4]
    together = Trainer(score, optax.sgd(0.01, 0.9), noise(100), batch_size=20)
    together.start([small_model(seed) for seed in seeds], seed=seeds)
    losses, tests = together.epoch()["loss"], together.evaluate(noise(30, seed=1))["loss"]
    for place, seed in enumerate(seeds):
        alone = Trainer(score, optax.sgd(0.01, 0.9), noise(100), batch_size=20)
        alone.start(small_model(seed), seed=seed)
        np.testing.assert_allclose(losses[place], alone.epoch()["loss"], rtol=1e-5)
        expected = alone.evaluate(noise(30, seed=1))["loss"]
        np.testing.assert_allclose(tests[place], expected, rtol=1e-5)
        (a,) = (together.models[place].out.kernel[...],)
        np.testing.assert_allclose(a, alone.model.out.kernel[...], rtol=1e-4, atol=1e-6)


def test_average_is_that_of_the_parameters_and_is_evaluated():
    run = Trainer(labels_as_gradient, optax.sgd(1.0), noise(40), batch_size=10, average=0.5)
    run.start(Bias(), seed=0)
    expected, value = 0.0, 0.0
    for step in range(4):
        before = float(run.state.params["total"][...])
        run.advance(1)
        value = float(run.state.params["total"][...])
        assert value > before
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(run.model.total[...], expected, rtol=1e-6)
    loss = run.evaluate(Split(np.zeros((1, 28, 28, 1), np.uint8), np.ones(1, np.int32)))["loss"]
    np.testing.assert_allclose(loss, -expected, rtol=1e-6)


def test_half_precision_computes_narrow_and_keeps_parameters_wide():
    seen = []

    def watched(model, images, labels):
        seen.append((images.dtype, model.out.kernel[...].dtype))
        return score(model, images, labels)

    run = Trainer(watched, optax.sgd(0.01), noise(40), batch_size=20, dtype=jnp.bfloat16)
    run.start(small_model(), seed=0)
    seen.clear()
    run._compile()  # traces the step again
    assert seen
    assert all(dtypes == (jnp.bfloat16, jnp.bfloat16) for dtypes in seen)
    first, second = run.epoch()["loss"], run.epoch()["loss"]
    assert second < first
    assert all(p.dtype == np.float32 for p in parameters(run))


def test_augmentation_sees_each_step_once_and_evaluation_never():
    def blank(key, images):
        return jnp.broadcast_to(jax.random.uniform(key), images.shape)

    def brightness(model, images, labels):
        return {"loss": model(images) + images.mean(axis=(1, 2, 3))}

    run = Trainer(brightness, optax.sgd(0.0), noise(20), batch_size=10, augment=blank)
    run.start(Bias(), seed=0)
    seen = set()
    for _ in range(4):
        before = run.means()["loss"] * (run.steps_done % 2) if run.steps_done % 2 else 0.0
        run.advance(1)
        steps = (run.steps_done - 1) % 2 + 1
        seen.add(round(run.means()["loss"] * steps - before, 5))
    assert len(seen) == 4
    test = noise(10, seed=1)
    np.testing.assert_allclose(run.evaluate(test)["loss"], test.images.mean() / 255, rtol=1e-5)


@pytest.mark.parametrize("many", [False, True])
def test_a_step_that_is_not_finite_is_not_taken(many):
    def bursts(model, images, labels):
        value = score(model, images, labels)["loss"]
        return {"loss": jnp.where(model.out.bias[...].sum() > 0.025, jnp.nan, value)}

    def growing():
        return optax.stateless(lambda updates, params: jax.tree.map(lambda p: p * 0 + 1e-3, params))

    run = Trainer(bursts, growing(), noise(100), batch_size=20)
    run.start(*([small_model(), small_model()], [0, 1]) if many else (small_model(), 0))
    run.advance(5)
    assert not run.is_finite
    assert np.isnan(run.means()["loss"]).all()
    _, step, model, loss = run.refused()
    assert step == 3  # after three steps the ten biases sum to 0.03
    np.testing.assert_allclose(model.out.bias[...], 3e-3, rtol=1e-5)
    assert np.isnan(loss(model))


def mesh_of(devices):
    return jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.exhaustive), 8])
def test_devices_give_what_one_gives(devices):
    """The losses equal those of one device to rounding, and each device has a part of a batch."""
    curves = []
    for mesh in (None, mesh_of(devices)):
        run = Trainer(score, optax.sgd(0.01, 0.9), noise(100), batch_size=40, mesh=mesh)
        run.start(small_model(), seed=0)
        losses = [run.epoch()["loss"] for _ in range(3)]
        curves.append([*losses, run.evaluate(noise(90, seed=1))["loss"]])
    assert run.state.params["out"]["kernel"][...].sharding.num_devices == devices
    assert f"num_partitions={devices}" in run._take_steps.as_text()
    np.testing.assert_allclose(*curves, rtol=1e-5)


def test_devices_must_divide_the_batch():
    with pytest.raises(UserError, match="batch size 5 is no multiple of the mesh's 2 devices"):
        Trainer(score, optax.sgd(0.01), noise(20), batch_size=5, mesh=mesh_of(2))
