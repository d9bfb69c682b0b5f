"""The functions that the trainer compiles: pure functions from one state of a run to the next.

Static arguments are keyword arguments; `trainer.Trainer` supplies them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import PartitionSpec as P

# `score(model, images, labels)` returns under each name one value an example. Training minimises
# the mean of "loss"; the other means are reported.
Score = Callable[[nnx.Module, jax.Array, jax.Array], dict[str, jax.Array]]
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]  # of a key and images in [0, 1]

DATA = "data"  # the mesh axis over which the examples of a batch are split


class State(NamedTuple):
    """Everything that a run needs to continue, except for the number of steps taken.

    A pytree of arrays. If several seeds train at once, each array has a leading axis over them.
    """

    params: Any
    others: Any  # the model's other variables, such as the counters of its random streams
    optimiser: optax.OptState
    average: Any  # moving average of the params, or None
    key: jax.Array  # of the permutations and augmentations
    sums: dict[str, jax.Array]  # of the batches' mean scores since the epoch began
    taken: jax.Array  # the number of steps before the first one that was not finite


def to_unit_interval(images: jax.Array) -> jax.Array:
    """Convert uint8 pixels to floats in [0, 1]."""
    return images.astype(jnp.float32) / 255


def for_each_seed(function):
    """Map a function of a state over its leading axis: in parallel, or one by one on a CPU.

    A CPU has no idle units that a batch of seeds would fill, and convolutions with a batch of
    kernels take two to three times as long there as one after the other.
    """

    def mapped(state, *others):
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda one: function(one, *others), state)
        return jax.vmap(lambda one: function(one, *others))(state)

    return mapped


def order_of(key, epoch, size):
    """The order of the images in an epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def rows_of(split, rows, mesh):
    """The images and labels of these rows. On a mesh, each device gets its share of them."""
    images, labels = split
    if mesh is None:
        return images[rows], labels[rows]

    def share(images, labels, rows):
        # Each device contributes the images that it holds, and zeros for the others.
        here = rows - jax.lax.axis_index(DATA) * len(images)
        is_here = (0 <= here) & (here < len(images))
        given = jnp.where(is_here[:, None, None, None], images[here], 0)
        return jax.lax.psum_scatter(given, DATA, tiled=True), labels

    share = jax.shard_map(
        share, mesh=mesh, in_specs=(P(DATA), P(DATA), P()), out_specs=(P(DATA), P(DATA))
    )
    return share(images, labels[rows], rows)


def batch_of(train, order, key, number, *, batch_size, augment, mesh):
    """The augmented images in [0, 1] and the labels of a step."""
    first = number % (len(train.labels) // batch_size) * batch_size
    rows = jax.lax.dynamic_slice(order, (first,), (batch_size,))
    images, labels = rows_of(train, rows, mesh)
    images = to_unit_interval(images)
    if augment is not None:
        # Permutations fold in the epochs, from 0 upwards; these count down from 2³² - 1.
        place = jnp.uint32(2**32 - 1) - number.astype(jnp.uint32)
        images = augment(jax.random.fold_in(key, place), images)
    return images, labels


def advance(
    state, train, start, stop,
    *, definition, score, optimiser, average, dtype, batch, steps_per_epoch,
):  # fmt: skip
    """The state after the steps from `start` to `stop`, all of one epoch."""
    order = order_of(state.key, start // steps_per_epoch, len(train.labels))

    def loss(params, others, images, labels):
        # A copy, because Flax's variables belong to one trace.
        model = nnx.merge(definition, cast(params, dtype), others, copy=True)
        model.train()
        values = cast(score(model, images.astype(dtype), labels), jnp.float32)
        # The counters of the random streams, for the next step.
        _, _, others = nnx.split(model, nnx.Param, ...)
        return values["loss"].mean(), (values, others)

    def step(number, state):
        images, labels = batch(train, order, state.key, number)
        grads, (values, others) = jax.grad(loss, has_aux=True)(
            state.params, state.others, images, labels
        )
        updates, memory = optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        means = jax.tree.map(jnp.mean, values)
        is_taken = (state.taken == number) & _all_finite((means["loss"], grads))
        averaged = None
        if state.average is not None:
            decay = jnp.minimum(average, (1 + number) / (10 + number))
            averaged = optax.incremental_update(params, state.average, 1 - decay)
        sums = jax.tree.map(jnp.add, state.sums, means)
        new = State(params, others, memory, averaged, state.key, sums, state.taken + 1)
        return jax.tree.map(partial(jnp.where, is_taken), new, state)

    begins = start % steps_per_epoch == 0
    sums = jax.tree.map(lambda total: jnp.where(begins, 0, total), state.sums)
    return jax.lax.fori_loop(start, stop, step, state._replace(sums=sums))


def evaluate(state, split, *, definition, score, dtype, mesh, batch_size):
    """The means of the score over a split, with the averaged parameters if there are any."""
    best = state.params if state.average is None else state.average

    def sums(number):
        rows = number * batch_size + jnp.arange(batch_size)
        # The last batch is filled up with the last image, which is then not counted.
        images, labels = rows_of(split, jnp.minimum(rows, size - 1), mesh)
        model = nnx.merge(definition, cast(best, dtype), state.others, copy=True)
        model.eval()
        values = score(model, to_unit_interval(images).astype(dtype), labels)
        counted = jax.tree.map(lambda value: jnp.where(rows < size, value, 0), values)
        return jax.tree.map(jnp.sum, cast(counted, jnp.float32))

    size = len(split.labels)
    by_batch = jax.lax.map(sums, jnp.arange(-(-size // batch_size)))
    return jax.tree.map(lambda total: total.sum() / size, by_batch)


def cast(tree, dtype):
    """Convert floating-point arrays to another dtype, and leave the others."""
    floating = partial(jnp.issubdtype, arg2=jnp.floating)
    return jax.tree.map(lambda a: a.astype(dtype) if floating(a.dtype) else a, tree)


def _all_finite(tree):
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
