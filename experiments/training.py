"""The training loop that the experiments share: one compiled call an epoch.

All images lie on the device as uint8. An epoch is one jit-compiled call: it draws a permutation,
scans over its batches, turns each batch into floats and takes an optimiser step; nothing comes back
to Python in between. Same seed, same bits.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ._progress import progress
from ._user_error import UserError
from .data import Split

Metrics = dict[str, float]
# Score of a batch: `score(model, images, labels)` has one value an example under each name.
# Training minimises the mean of "loss"; the others are reported.
Score = Callable[[nnx.Module, jax.Array, jax.Array], dict[str, jax.Array]]


class State(NamedTuple):
    """What a training step changes. A pure pytree: the model's graph definition stays outside."""

    params: Any
    others: Any  # of the model, for example the counters of its random streams
    optimiser: optax.OptState


class Trainer:
    """A score, an optimiser and a training set, compiled into one call an epoch.

        trainer = Trainer(score, optimiser, dataset.train, batch_size=500)
        trainer.start(model, seed=0)
        trainer.epoch(), trainer.evaluate(dataset.test), trainer.model

    Starting again with a model of the same structure, say of another seed, compiles nothing.

    Args:
      score: Values of a batch, see `Score`; its images are floats in [0, 1].
      optimiser: Any optax optimiser.
      train: The training set.
      batch_size: Images of a step. Where it does not divide the training set, an epoch leaves out
        the rest of its permutation, other images each time: all steps weigh the same.

    Raises:
      UserError: The batch is larger than the training set.
    """

    def __init__(
        self,
        score: Score,
        optimiser: optax.GradientTransformation,
        train: Split,
        *,
        batch_size: int,
    ):
        if not 1 <= batch_size <= train.size:
            raise UserError(
                f"batch size {batch_size} is not within 1 and the {train.size} training images."
            )
        self.images_per_epoch = train.size // batch_size * batch_size
        self._optimiser, self._train = optimiser, to_device(train)
        self._epoch = partial(_epoch, score=score, optimiser=optimiser, batch_size=batch_size)
        self._evaluate = partial(_evaluate, score=score, batch_size=batch_size)
        self._definition: Any = None

    def start(self, model: nnx.Module, *, seed: int) -> None:
        """Begin with a new model, compiling where its structure is new.

        Takes the model over: its arrays are donated to the first epoch; see `.model`.

        Args:
          model: Called by the score. Its random streams, as for dropout, come with it.
          seed: Of the order of the images.
        """
        definition, params, others = nnx.split(model, nnx.Param, ...)
        self._state = State(params, others, self._optimiser.init(params))
        self._key, self._epochs_done = jax.random.key(seed), 0
        if definition != self._definition:
            self._definition = definition
            # Compiled now, so that the first epoch's time is that of an epoch.
            epoch = jax.jit(partial(self._epoch, definition=definition), donate_argnums=0)
            self._run_epoch = epoch.lower(self._state, self._train, self._key).compile()
            self._run_evaluation = jax.jit(partial(self._evaluate, definition=definition))

    def epoch(self) -> Metrics:
        """Train for an epoch; the means of the score while training, and the `seconds` it took."""
        key = jax.random.fold_in(self._key, self._epochs_done)
        start = time.perf_counter()
        self._state, means = self._run_epoch(self._state, self._train, key)
        metrics = _to_floats(means)  # waits for the device
        metrics["seconds"] = time.perf_counter() - start
        self._epochs_done += 1
        return metrics

    def evaluate(self, split: Split) -> Metrics:
        """The means of the score over a split, without dropout."""
        return _to_floats(self._run_evaluation(self._state, to_device(split)))

    @property
    def model(self) -> nnx.Module:
        """A copy of the model as trained so far, set to evaluation."""
        params, others = jax.tree.map(jnp.copy, (self._state.params, self._state.others))
        model = nnx.merge(self._definition, params, others)
        model.eval()
        return model


def to_device(split: Split) -> Split:
    """The split on the default device; free for one that is there already."""
    return Split(*jax.device_put(tuple(split)))


def to_unit_interval(images: jax.Array) -> jax.Array:
    """Bring uint8 pixels to floats in [0, 1]."""
    return images.astype(jnp.float32) / 255


def _epoch(state, train, key, *, definition, score, optimiser, batch_size):
    num_steps = len(train.labels) // batch_size
    order = jax.random.permutation(key, len(train.labels))
    batches = order[: num_steps * batch_size].reshape(num_steps, batch_size)

    def loss(params, others, images, labels):
        # A copy, whose variables belong to this trace and may change in it.
        model = nnx.merge(definition, params, others, copy=True)
        model.train()
        values = score(model, images, labels)
        # The model's streams have moved on: hand their counters to the next step.
        _, _, others = nnx.split(model, nnx.Param, ...)
        return values["loss"].mean(), (values, others)

    def step(state, rows):
        images, labels = to_unit_interval(train.images[rows]), train.labels[rows]
        grads, (values, others) = jax.grad(loss, has_aux=True)(
            state.params, state.others, images, labels
        )
        updates, memory = optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, others, memory), jax.tree.map(jnp.mean, values)

    state, means = jax.lax.scan(step, state, batches)
    return state, jax.tree.map(jnp.mean, means)  # all steps have the same number of images


def _evaluate(state, split, *, definition, score, batch_size):
    def sums(images, labels):
        model = nnx.merge(definition, state.params, state.others)
        model.eval()
        return jax.tree.map(jnp.sum, score(model, to_unit_interval(images), labels))

    size = len(split.labels)
    whole = size // batch_size * batch_size
    batches = jax.tree.map(
        lambda array: array[:whole].reshape(-1, batch_size, *array.shape[1:]), tuple(split)
    )
    totals = []
    if whole:
        by_batch = jax.lax.map(lambda batch: sums(*batch), batches)
        totals.append(jax.tree.map(partial(jnp.sum, axis=0), by_batch))
    if whole < size:  # no image of a test set is left out
        totals.append(sums(split.images[whole:], split.labels[whole:]))
    return jax.tree.map(lambda *parts: sum(parts) / size, *totals)


def _to_floats(values) -> Metrics:
    return {name: float(value) for name, value in jax.device_get(values).items()}


@contextmanager
def progress_bar(title: str, epochs: int) -> Iterator[Callable[[Metrics], None]]:
    """A progress bar over epochs; yields `report(metrics)`, to be called after each of them."""
    with progress(title, epochs, waiting="compiling") as report:
        yield lambda metrics: report("  ".join(_format(*metric) for metric in metrics.items()))


def _format(name: str, value: float) -> str:
    if name == "accuracy":
        return f"accuracy {value:.2%}"
    if name == "images/s":
        return f"{value:,.0f} images/s"
    return f"{name} {value:.4f}"
