"""The training loop that the experiments share, on one device or many.

All images lie on the devices as uint8. A call of the compiled program takes any number of steps:
each selects its batch from the epoch's permutation, converts it to floats and updates the
parameters, without returning to Python. The run's `State` is one pytree. The same state gives the
same bits, however the steps are divided into calls.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..command_line import UserError, require
from ..data import Split
from . import processes, steps
from .steps import DATA, Augmentation, Score, State

Metrics = dict[str, float]


class Trainer:
    """A score, an optimiser and a training set, compiled into one program.

        trainer = Trainer(score, optimiser, dataset.train, batch_size=500)
        trainer.start(model, seed=0)
        trainer.epoch(), trainer.evaluate(dataset.test), trainer.model

    Starting again with a model of the same structure compiles nothing. Models of several seeds
    train at once: `trainer.start(models, seed=seeds)`. Metrics are then arrays `(seeds,)`, and
    `.models` has all models.

    A step whose loss or gradient is not finite is not taken, nor is any after it. See
    `is_finite`.

    Args:
      score: The score of a batch with images in [0, 1]. See `steps.Score`.
      optimiser: Any Optax optimiser.
      train: The training set.
      batch_size: The images of a step. If it does not divide the training set, each epoch leaves
        out the rest of its permutation.
      average: The decay a step of a moving average of the parameters, which evaluation then uses;
        0 keeps none. At first the decay is (1 + step) / (10 + step), to forget the initial values.
      dtype: The dtype that the model computes in. Parameters and their updates are float32.
      augment: A random change of the training images.
      mesh: Devices along an axis "data", over which each batch is split; None: one device.

    Raises:
      UserError: The batch is larger than the training set, or no multiple of the devices.
    """

    def __init__(
        self,
        score: Score,
        optimiser: optax.GradientTransformation,
        train: Split,
        *,
        batch_size: int,
        average: float = 0.0,
        dtype: Any = jnp.float32,
        augment: Augmentation | None = None,
        mesh: Mesh | None = None,
    ):
        require(
            1 <= batch_size <= train.size,
            f"batch size {batch_size} is not within 1 and the {train.size} training images.",
        )
        if mesh is not None and (over := batch_size % mesh.shape[DATA]):
            nearest = batch_size - over or mesh.shape[DATA]
            raise UserError(
                f"batch size {batch_size} is no multiple of the mesh's {mesh.shape[DATA]} devices; "
                f"--batch-size {nearest} is."
            )
        self.steps_per_epoch = train.size // batch_size
        self.images_per_epoch = self.steps_per_epoch * batch_size
        self.mesh, self._train = mesh, to_device(train, mesh)
        self.score, self._optimiser, self._keeps_average = score, optimiser, average > 0
        self._dtype = dtype
        self._batch = partial(steps.batch_of, batch_size=batch_size, augment=augment, mesh=mesh)
        shared = {"score": score, "dtype": dtype}
        self._advance = partial(
            steps.advance,
            batch=self._batch,
            steps_per_epoch=self.steps_per_epoch,
            optimiser=optimiser,
            average=average,
            **shared,
        )
        self._evaluate = partial(steps.evaluate, mesh=mesh, batch_size=batch_size, **shared)
        self._compiled_for: Any = None

    def start(self, model: nnx.Module | Sequence[nnx.Module], seed: int | Sequence[int]) -> None:
        """Begin with an untrained model, and compile if its structure is new.

        The model's arrays are donated to the first step; use `.model` afterwards.

        Args:
          model: The model, with its random streams. Several models of one structure train at once.
          seed: The seed of the order of the images and of augmentation, one a model.
        """
        self._many = not isinstance(model, nnx.Module)
        models: Any = model if self._many else [model]
        seeds: Any = seed if self._many else [seed]
        self._definition = nnx.graphdef(models[0])
        states = [self._begin(*pair) for pair in zip(models, seeds, strict=True)]
        state = jax.tree.map(lambda *a: jnp.stack(a), *states) if self._many else states[0]
        self.resume(state, steps_done=0)
        structure = self._definition, self._many and len(states)
        if structure != self._compiled_for:
            self._compiled_for = structure
            self._compile()

    def _begin(self, model, seed) -> State:
        definition, params, others = nnx.split(model, nnx.Param, ...)

        def scores(params, others):
            images = jnp.zeros((1, *self._train.images.shape[1:]))
            return self.score(nnx.merge(definition, params, others), images, jnp.zeros(1, int))

        sums = {name: jnp.zeros(()) for name in jax.eval_shape(scores, params, others)}
        average = jax.tree.map(jnp.copy, params) if self._keeps_average else None
        memory, key = self._optimiser.init(params), jax.random.key(seed)
        return State(params, others, memory, average, key, sums, jnp.int32(0))

    def _compile(self):
        def over_seeds(function):
            function = partial(function, definition=self._definition)
            return steps.for_each_seed(function) if self._many else function

        whole = _whole(self.mesh)
        # Compiled here, so that the time of the first epoch does not include it.
        advance = jax.jit(over_seeds(self._advance), donate_argnums=0, out_shardings=whole)
        self._take_steps = advance.lower(self.state, self._train, *_counts(0, 0)).compile()
        self._run_evaluation = jax.jit(over_seeds(self._evaluate), out_shardings=whole)

    def resume(self, state: State, steps_done: int) -> None:
        """Continue from the state of another run. Its arrays are donated."""
        self.state = state if self.mesh is None else processes.replicate(state, self.mesh)
        self.steps_done = steps_done

    def advance(self, number: int) -> None:
        """Take steps, at most to the end of the epoch, and wait for the last."""
        stop = min(self.steps_done + number, (self.epochs_done + 1) * self.steps_per_epoch)
        between = _counts(self.steps_done, stop)
        self.state = jax.block_until_ready(self._take_steps(self.state, self._train, *between))
        self.steps_done = stop

    def epoch(self) -> Metrics:
        """Take the rest of the epoch's steps; the `means` of the score and the `seconds`."""
        start = time.perf_counter()
        self.advance(self.steps_per_epoch)
        return self.means() | {"seconds": time.perf_counter() - start}

    @property
    def epochs_done(self) -> int:
        """The number of whole epochs."""
        return self.steps_done // self.steps_per_epoch

    @property
    def is_finite(self) -> bool:
        """Whether all steps were taken, which means that all losses and gradients were finite."""
        return bool((jax.device_get(self.state.taken) == self.steps_done).all())

    def means(self) -> Metrics:
        """The means of the score over the steps of the current epoch, or of the one just ended.

        They are NaN if a step was not taken.
        """
        number = (self.steps_done - 1) % self.steps_per_epoch + 1
        is_finite = self.state.taken == self.steps_done
        means = {name: total / number for name, total in self.state.sums.items()}
        return _to_host({name: jnp.where(is_finite, m, jnp.nan) for name, m in means.items()})

    def evaluate(self, split: Split) -> Metrics:
        """The means of the score over a split, in evaluation mode."""
        return _to_host(self._run_evaluation(self.state, to_device(split, self.mesh)))

    def refused(self) -> tuple[int, int, nnx.Module, Callable[[nnx.Module], jax.Array]]:
        """The first step that was not taken, for `nonfinite.blame`.

        Returns:
          The position of its seed, its number, the model before it in the dtype that it computes
          in, and the step's loss as a function of the model.
        """
        taken = np.atleast_1d(jax.device_get(self.state.taken))
        place = int(np.argmin(taken))
        step = int(taken[place])

        def batch(train, keys):
            key = jnp.atleast_1d(keys)[place]
            order = steps.order_of(key, step // self.steps_per_epoch, self._train.size)
            return self._batch(train, order, key, jnp.int32(step))

        batch = jax.jit(batch, out_shardings=_whole(self.mesh))(self._train, self.state.key)
        images, labels = processes.local(batch)
        model = self._unstack(lambda state: steps.cast(state.params, self._dtype))[place]
        model.train()
        images = images.astype(self._dtype)
        return place, step, model, lambda model: self.score(model, images, labels)["loss"].mean()

    @property
    def model(self) -> nnx.Module:
        """A copy of the model of the first seed, as it is evaluated, in evaluation mode."""
        return self.models[0]

    @property
    def models(self) -> list[nnx.Module]:
        """A copy of the model of each seed."""
        models = self._unstack(lambda s: s.params if s.average is None else s.average)
        for model in models:
            model.eval()
        return models

    def _unstack(self, params_of) -> list[nnx.Module]:
        """The model of each seed with these parameters, on one device."""
        state = processes.local(self.state._replace(key=None))
        parts = jax.tree.map(jnp.copy, (params_of(state), state.others))
        if not self._many:
            return [nnx.merge(self._definition, *parts)]
        seeds = range(len(state.taken))
        by_seed = [jax.tree.map(lambda array, s=s: array[s], parts) for s in seeds]
        return [nnx.merge(self._definition, *parts) for parts in by_seed]


def to_device(split: Split, mesh: Mesh | None = None) -> Split:
    """The split on the default device, or its images distributed over a mesh."""
    if isinstance(split.images, jax.Array):
        return split
    if mesh is None:
        return Split(*jax.device_put(tuple(split)))
    labels = processes.replicate(split.labels, mesh)
    return Split(processes.spread(split.images, split.size, mesh), labels)


def _whole(mesh):
    return None if mesh is None else NamedSharding(mesh, P())


def _counts(*numbers):
    # NumPy's, because all processes can pass them; JAX's would lie on one device.
    return tuple(map(np.int32, numbers))


def _to_host(values) -> Metrics:
    values = jax.device_get(values)
    return {name: value if value.ndim else float(value) for name, value in values.items()}
