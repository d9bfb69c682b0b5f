"""A run from its first step to its last: training, evaluation, records, checkpoints.

A run ends after its last epoch, when the validation loss has stopped falling, when the user
interrupts it (Ctrl-C, SIGTERM), or when it diverges. It can be resumed to the same bits.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from ..command_line import Diverged, Interrupted, attempt, note, require
from ..command_line.progress import progress
from ..command_line.tables import number
from ..data import Dataset
from . import export, nonfinite, processes
from .checkpoints import Checkpoints, as_dict, from_dict
from .interruption import stop_requests
from .options import TrainingOptions, as_json
from .records import Entry, Records
from .steps import Augmentation, Score
from .trained import load_into
from .trainer import Trainer, to_device

_CALL_SECONDS = 0.5  # how long the compiled program runs before Python checks signals and the clock


def train(
    name: str,
    options: TrainingOptions,
    dataset: Dataset,
    *,
    build: Callable[[int, int], nnx.Module],
    score: Score,
    batch_size: int,
    augment: Augmentation | None = None,
    folder: Path | None = None,
    answer: export.Answer | None = None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[list[list[Entry]], list[nnx.Module]]:
    """Train a model from each seed, as the options say.

    Args:
      name: The name of the network.
      options: The options of the run.
      dataset: Its validation and test splits are evaluated after each epoch.
      build: Builds a model from a seed and the number of training steps.
      score: The score of a batch. See `steps.Score`.
      batch_size: The images of a step, unless `--batch-size` is given or there are few images.
      augment: A random change of the training images.
      folder: The folder for records and checkpoints; None writes nothing.
      answer: The function of model and images that `--export` writes.
      facts: What config.json holds beside the options, to build the model again.

    Returns:
      For each seed an entry an epoch, with `epoch`, `seconds` of training, and `train_`,
      `validation_` and `test_` before each name of the score; and for each seed the model.

    Raises:
      Diverged: A loss, gradient or metric was not finite. The epochs before are saved.
      Interrupted: The user stopped the run. Its state is saved.
      UserError: The options cannot be followed.
    """
    batch_size = options.batch_size_of(dataset.train.size, usual=batch_size)
    mesh = options.make_mesh()
    identity = dataset.identity()  # of host arrays: on devices, it needs all processes
    dataset = dataset.map_splits(partial(to_device, mesh=mesh))
    num_steps = options.epochs * (dataset.train.size // batch_size)
    trainer = Trainer(
        score,
        options.make_optimiser(num_steps),
        dataset.train,
        batch_size=batch_size,
        average=options.average,
        dtype=options.dtype,
        augment=augment,
        mesh=mesh,
    )
    seeds = range(options.seed, options.seed + options.seeds)
    models = [build(seed, num_steps) for seed in seeds]
    if folder is not None:
        size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(models[0], nnx.Param)))
        note(
            f"{name}: {size:,} parameters, {trainer.steps_per_epoch} steps of {batch_size} images "
            f"an epoch; results go to {folder}"
        )
    trainer.start(*(models, seeds) if len(seeds) > 1 else (models[0], seeds[0]))
    histories = run(name, trainer, dataset, options, folder, answer, identity, facts)
    return histories, trainer.models


def run(
    name: str,
    trainer: Trainer,
    dataset: Dataset,
    options: TrainingOptions,
    folder: Path | None = None,
    answer: export.Answer | None = None,
    identity: dict[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[list[Entry]]:
    """Train to the end with a trainer that has been started. See `train`.

    Args:
      identity: That of the dataset, where several processes share its images: only together could
        they compute it.
    """
    with processes.ending_together():
        identity = dataset.identity() if identity is None else identity
        started = _Run(name, trainer, dataset, options, folder, answer, identity, facts or {})
    try:
        return started.to_its_end()
    finally:
        if started.records is not None:
            started.records.close()


class _Run:
    def __init__(self, name, trainer, dataset, options, folder, answer, identity, facts):
        self.name, self.trainer, self.dataset, self.options = name, trainer, dataset, options
        self.num_seeds = len(trainer.models)
        self.histories: list[list[Entry]] = [[] for _ in range(self.num_seeds)]
        self.answer, self.identity, self.facts = answer, identity, facts
        self.seconds = 0.0  # of training in this epoch
        self.folder, self.checkpoints, self.records = folder, None, None
        if folder is not None:
            self.checkpoints = Checkpoints(folder / "checkpoints", keep=options.keep)
        if options.resume:
            self._continue()
        if folder is not None:
            self.records = Records(folder, self._config(), options.seed)
        self.saved_at = time.monotonic()

    def to_its_end(self):
        done, epochs, shown = len(self.histories[0]), self.options.epochs, processes.is_first()
        with (
            stop_requests() as asked_to_stop,
            progress(self.name, epochs, waiting="first epoch", done=done, shown=shown) as report,
        ):
            while len(self.histories[0]) < epochs and not self._has_stalled():
                with self._traced():
                    self._rest_of_epoch(asked_to_stop)
                self._evaluate()
                report(self._summary())
                self._save_if_due()
        self._save()
        with attempt(f"export {self.name}"):
            self._export()
        return self.histories

    def _config(self):
        return {
            "experiment": self.options.experiment,
            "name": self.name,
            "image_shape": self.dataset.image_shape,
            "class_names": self.dataset.class_names,
            "data": self.identity,
            **self.facts,
            "options": as_json(self.options),
        }

    def _export(self):
        """Write the weights that `predict` uses: those of the lowest validation loss."""
        if not self.options.export or self.folder is None or self.answer is None:
            return
        model, which = self.trainer.model, f"step {self.trainer.steps_done}"
        if (found := self.checkpoints.load()) is not None:
            step, arrays, _ = found
            load_into(model, arrays, 0 if self.num_seeds > 1 else None, f"checkpoint {step}")
            which = f"step {step}"
        trained = export.Forward(self.answer, model, self.options.dtype)
        said = export.write(trained, self.dataset.image_shape, self.folder / "forward.stablehlo")
        of_seed = f", seed {self.options.seed}" if self.num_seeds > 1 else ""
        print(f"{self.name} ({which}{of_seed}): {said}", file=sys.stderr)

    @contextmanager
    def _traced(self):
        """Trace the second epoch, or the first if there is only one."""
        traced = min(1, self.options.epochs - 1)
        if not self.options.profile or self.folder is None or len(self.histories[0]) != traced:
            yield
            return
        folder = self.folder / "trace"
        jax.profiler.start_trace(str(folder), create_perfetto_trace=True)
        try:
            yield
        finally:
            with attempt(f"write a trace in {folder}"):
                jax.profiler.stop_trace()

    def _rest_of_epoch(self, asked_to_stop):
        trainer, steps = self.trainer, 1
        end = (len(self.histories[0]) + 1) * trainer.steps_per_epoch
        while trainer.steps_done < end:
            before, start = trainer.steps_done, time.perf_counter()
            with processes.meeting():
                trainer.advance(steps)
            # All processes take the same number of steps, and stop if one of them is asked to.
            each = processes.from_all((time.perf_counter() - start, asked_to_stop()))
            taken, is_asked_to_stop = (max(of_all) for of_all in zip(*each, strict=True))
            self.seconds += taken
            self._require_finite()
            # As many steps as fit into the time of a call, at most twice as many as before.
            fitting = (trainer.steps_done - before) * _CALL_SECONDS / taken
            steps = max(1, min(2 * steps, int(fitting)))
            if is_asked_to_stop:
                self._save()
                run = "" if self.folder is None else f" {self.folder.parent}"
                raise Interrupted(f"{self.name}: interrupted; --resume{run} continues it")
            if self._is_time():
                self._save()

    def _require_finite(self):
        if self.trainer.is_finite:
            return
        place, step, model, loss = self.trainer.refused()
        culprit = nonfinite.blame(model, loss)
        epoch, step = divmod(step, self.trainer.steps_per_epoch)
        of_seed = f" (seed {self.options.seed + place})" if self.num_seeds > 1 else ""
        raise Diverged(
            f"{self.name}{of_seed}: {culprit} is not finite in step {step + 1} of epoch "
            f"{epoch + 1}, which was not taken. A lower --learning-rate or a --clip-norm may help."
        )

    def _evaluate(self):
        trainer, dataset = self.trainer, self.dataset
        with processes.meeting():
            scores = {
                "train": trainer.means(),
                "validation": trainer.evaluate(dataset.validation),
                "test": trainer.evaluate(dataset.test),
            }
        for place, history in enumerate(self.histories):
            entry = {"epoch": len(history) + 1, "seconds": self.seconds}
            for split, values in scores.items():
                for name, value in values.items():
                    entry[f"{split}_{name}"] = float(np.atleast_1d(value)[place])
            history.append(entry)
        self.seconds = 0.0
        if self.records is not None:
            self.records.write(self.histories)
        last = [(name, value) for history in self.histories for name, value in history[-1].items()]
        for name, value in last:
            if not np.isfinite(value):
                raise Diverged(
                    f"{self.name}: {name} is {value} after epoch {len(self.histories[0])}. "
                    "A lower --learning-rate or a --clip-norm may help."
                )

    def _means(self, name) -> list[float]:
        """The mean of a metric over the seeds, after each epoch."""
        values = [[entry[name] for entry in history] for history in self.histories]
        return np.mean(values, axis=0).tolist()

    def _has_stalled(self):
        losses, patience = self._means("validation_loss"), self.options.patience
        if patience is None or not losses:
            return False
        return len(losses) - 1 - int(np.argmin(losses)) >= patience

    def _summary(self) -> str:
        last = {name: self._means(name)[-1] for name in self.histories[0][-1]}
        parts = [f"train loss {number(last['train_loss'], 4)}"]
        for name, value in last.items():
            split, _, kind = name.partition("_")
            if split == "validation" and kind != "loss":
                shown = f"{value:.2%}" if kind == "accuracy" else number(value, 5)
                parts.append(f"{split} {kind} {shown}")
        rate = self.num_seeds * self.trainer.images_per_epoch / last["seconds"]
        return "  ".join([*parts, f"{rate:,.0f} images/s"])

    # ---- checkpoints -------------------------------------------------------------------------

    def _continue(self):
        state, record = self.trainer.state, None
        if self.checkpoints is not None and self.checkpoints.steps:
            found = self.checkpoints.restore(state)
            require(found is not None, f"--resume: {self.folder} has no intact checkpoint.")
            state, record = found
        record = processes.from_all(record)[0]  # the first process has the checkpoints
        if record is None:
            return
        arrays = processes.arrays_from_first(as_dict(state))
        self.trainer.resume(from_dict(arrays, like=state), record["steps_done"])
        self.histories, self.seconds = record["histories"], record["seconds"]
        done, epochs = len(self.histories[0]), self.options.epochs
        message = f"--resume: {self.name} has done {done} epochs, more than --epochs {epochs}."
        require(done <= epochs, message)
        if done == epochs and self.folder is not None:
            more = "; a higher --epochs continues it" if self.options.schedule == "constant" else ""
            note(f"{self.name} has done all of its {done} epochs{more}")

    def _save_if_due(self):
        losses, every = self._means("validation_loss"), self.options.checkpoint_epochs
        is_turn = every is not None and len(losses) % every == 0
        is_best = losses[-1] == min(losses)
        if is_turn or is_best or self._is_time():
            self._save()

    def _is_time(self):
        seconds = self.options.checkpoint_seconds
        return seconds is not None and time.monotonic() - self.saved_at >= seconds

    def _save(self):
        if self.checkpoints is None:
            return
        record = {
            "options": as_json(self.options),
            "steps_done": self.trainer.steps_done,
            "histories": self.histories,
            "seconds": self.seconds,
        }
        is_evaluated = self.trainer.steps_done == (
            len(self.histories[0]) * self.trainer.steps_per_epoch
        )
        loss = self._means("validation_loss")[-1] if is_evaluated and self.histories[0] else None
        self.checkpoints.save(self.trainer.steps_done, self.trainer.state, record, loss=loss)
        self.saved_at = time.monotonic()
