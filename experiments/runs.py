"""From a started trainer to a finished run: epochs, evaluation, records, checkpoints, an end.

A run ends after its last epoch, or when the validation loss has stopped falling, when it is
interrupted (Ctrl-C, SIGTERM), or when a step is not finite. It can be continued to the same bits.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from . import _malloc, data, forward, nonfinite, processes
from ._notes import attempt, note
from ._progress import progress
from ._user_error import Interrupted, UserError
from .checkpoints import Checkpoints, as_dict, from_dict
from .data import WHOLE, Dataset, Part
from .options import TrainingOptions, as_json, require_same_run
from .records import Entry, Records
from .steps import Augmentation, Score
from .training import Trainer, to_device

_CALL_SECONDS = 0.5  # how long the compiled program runs before Python looks at signals and clock


def prepare(options: TrainingOptions) -> tuple[Path | None, Dataset]:
    """What comes before training: the run's folder, and this process's part of the images.

    Of several processes the first one alone has a folder.

    Raises:
      UserError: The processes did not meet, the folder can't be written to, or there are no such
        images.
    """
    if options.coordinator is not None:
        processes.join(options.coordinator, options.num_processes or 1, options.process_id or 0)
    if options.malloc_tuning:
        _malloc.keep_freed_memory()
    with processes.ending_together():
        folder = options.folder() if processes.is_first() else None
        dataset = load(options, processes.part())
    if processes.is_first():
        note(f"{options.dataset}: {dataset.describe()}")
    return folder, dataset


def load(options: TrainingOptions, part: Part = WHOLE) -> Dataset:
    """The images that the options name, or a process's part of them."""
    return data.load(
        options.dataset,
        data_dir=options.data_dir,
        cache_dir=options.cache_dir,
        image_size=options.image_size,
        part=part,
    )


def train(
    name: str,
    options: TrainingOptions,
    dataset: Dataset,
    *,
    build: Callable[[int], nnx.Module],
    score: Score,
    batch_size: int,
    augment: Augmentation | None = None,
    folder: Path | None = None,
    answer: forward.Answer | None = None,
) -> tuple[list[list[Entry]], nnx.Module]:
    """Train models of all seeds as the options say; what `run` returns, and the first seed's model.

    Args:
      build: From a seed to a model.
      batch_size: Images of a step, where `--batch-size` does not say and there are enough.

    The others are those of `run` and `Trainer`.
    """
    batch_size = options.batch_size_of(dataset.train.size, usual=batch_size)
    mesh = options.make_mesh()
    dataset = dataset.map_splits(partial(to_device, mesh=mesh))
    trainer = Trainer(
        score,
        options.make_optimiser(options.epochs * (dataset.train.size // batch_size)),
        dataset.train,
        batch_size=batch_size,
        average=options.average,
        dtype=options.dtype,
        augment=augment,
        mesh=mesh,
    )
    seeds = range(options.seed, options.seed + options.seeds)
    models = [build(seed) for seed in seeds]
    trainer.start(*(models, seeds) if len(seeds) > 1 else (models[0], seeds[0]))
    return run(name, trainer, dataset, options, folder, answer), trainer.model


def run(
    name: str,
    trainer: Trainer,
    dataset: Dataset,
    options: TrainingOptions,
    folder: Path | None = None,
    answer: forward.Answer | None = None,
) -> list[list[Entry]]:
    """Train to the end, recording each epoch.

    Args:
      name: Of the run, for the progress bar.
      trainer: Started with models of all seeds.
      dataset: Its validation and test splits are evaluated after each epoch.
      options: How long, what to save and when.
      folder: Where records and checkpoints go; None: nowhere.
      answer: What the model is asked in the end, for `--export`.

    Returns:
      For each seed an entry an epoch: `epoch`, `seconds` of training, and `train_`, `validation_`
      and `test_` with each name of the score.

    Raises:
      UserError: A step was not finite; what there was before it is saved.
      Interrupted: After Ctrl-C or SIGTERM, and after saving.
    """
    with processes.ending_together():
        started = _Run(name, trainer, dataset, options, folder, answer)
    try:
        return started.to_its_end()
    finally:
        started.close()


class _Run:
    def __init__(self, name, trainer, dataset, options, folder, answer):
        self.name, self.trainer, self.dataset, self.options = name, trainer, dataset, options
        self.num_seeds = len(trainer.models)
        self.histories: list[list[Entry]] = [[] for _ in range(self.num_seeds)]
        self.answer = answer
        self.seconds = 0.0  # of training in this epoch
        self.folder, self.checkpoints, self.records = folder, None, None
        if folder is not None:
            self.checkpoints = Checkpoints(folder / "checkpoints", keep=options.keep)
        if options.resume:
            self._continue()
        elif self.checkpoints is not None and self.checkpoints.steps:
            raise UserError(
                f"{folder} holds a run: --resume continues it, another --output-dir begins anew."
            )
        if folder is not None:
            self.records = Records(folder, self._config())
        self.saved_at = time.monotonic()

    def to_its_end(self):
        done, epochs = len(self.histories[0]), self.options.epochs
        with (
            _signals() as asked_to_stop,
            progress(
                self.name, epochs, waiting="first epoch", done=done, shown=processes.is_first()
            ) as report,
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

    def close(self):
        if self.records is not None:
            self.records.close()

    def _config(self):
        return {
            "experiment": self.options.experiment,
            "name": self.name,
            "image_shape": self.dataset.image_shape,
            "class_names": self.dataset.class_names,
            "options": as_json(self.options),
        }

    def _export(self):
        if not self.options.export or self.folder is None or self.answer is None:
            return
        trained = forward.Forward(self.answer, self.trainer.model, self.options.dtype)
        file = self.folder / "forward.stablehlo"
        said = forward.write(trained, self.dataset.image_shape, file)
        of_seed = f" (seed {self.options.seed})" if self.num_seeds > 1 else ""
        print(f"{self.name}{of_seed}: {said}", file=sys.stderr)

    @contextmanager
    def _traced(self):
        """A trace of one epoch, the second where there is one: the first one warms up."""
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
            trainer.advance(steps)
            # All take as many steps, and stop where one of them is asked to.
            each = processes.from_all((time.perf_counter() - start, asked_to_stop()))
            taken, is_asked_to_stop = (max(of_all) for of_all in zip(*each, strict=True))
            self.seconds += taken
            self._require_finite()
            # As many as fit into the time between two looks, growing no faster than twofold.
            fitting = (trainer.steps_done - before) * _CALL_SECONDS / taken
            steps = max(1, min(2 * steps, int(fitting)))
            if is_asked_to_stop:
                self._save()
                raise Interrupted(f"{self.name}: interrupted; --resume continues it")
            if self._is_time():
                self._save()

    def _require_finite(self):
        if self.trainer.is_finite:
            return
        place, step, model, loss = self.trainer.refused()
        culprit = nonfinite.blame(model, loss)
        epoch, step = divmod(step, self.trainer.steps_per_epoch)
        of_seed = f" (seed {self.options.seed + place})" if self.num_seeds > 1 else ""
        raise UserError(
            f"{self.name}{of_seed}: {culprit} is not finite in step {step + 1} of epoch "
            f"{epoch + 1}, which was not taken. A lower --learning-rate or a --clip-norm may help."
        )

    def _evaluate(self):
        trainer, dataset = self.trainer, self.dataset
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

    def _means(self, name) -> list[float]:
        """A metric after each epoch, the mean over seeds."""
        values = [[entry[name] for entry in history] for history in self.histories]
        return np.mean(values, axis=0).tolist()

    def _has_stalled(self):
        losses, patience = self._means("validation_loss"), self.options.patience
        return (
            patience is not None
            and bool(losses)
            and (len(losses) - 1 - int(np.argmin(losses)) >= patience)
        )

    def _summary(self) -> str:
        last = {name: self._means(name)[-1] for name in self.histories[0][-1]}
        parts = [f"loss {last['train_loss']:.4f}"]
        for name in last:
            kind = name.removeprefix("validation_")
            if kind != name and kind != "loss":
                value = f"{last[name]:.2%}" if kind == "accuracy" else f"{last[name]:.5f}"
                parts.append(f"{kind} {value}")
        rate = self.num_seeds * self.trainer.images_per_epoch / last["seconds"]
        return "  ".join([*parts, f"{rate:,.0f} images/s"])

    # ---- checkpoints -------------------------------------------------------------------------

    def _continue(self):
        state, record = self.trainer.state, None
        if self.checkpoints is not None and (found := self.checkpoints.restore(state)):
            state, record = found
        # The first process's: the others have no folder.
        record = processes.from_all(record)[0]
        if record is None:
            return
        require_same_run(record["options"], self.options)
        arrays = processes.arrays_from_first(as_dict(state))
        self.trainer.resume(from_dict(arrays, like=state), record["steps_done"])
        self.histories, self.seconds = record["histories"], record["seconds"]

    def _save_if_due(self):
        losses, every = self._means("validation_loss"), self.options.checkpoint_epochs
        is_turn = every is not None and len(losses) % every == 0
        is_best = losses[-1] == min(losses)  # the one that is asked afterwards
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
        is_evaluated = self.trainer.epochs_done == len(self.histories[0]) and (
            self.trainer.steps_done % self.trainer.steps_per_epoch == 0
        )
        loss = self._means("validation_loss")[-1] if is_evaluated and self.histories[0] else None
        self.checkpoints.save(self.trainer.steps_done, self.trainer.state, record, loss=loss)
        self.saved_at = time.monotonic()


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into an answer; a second one ends the program at once."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def receive(number, _):
        received.append(number)
        signal.signal(number, before[number])
        print("stopping after the running step; once more ends at once", file=sys.stderr)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, receive)
    except ValueError:  # not the main thread, which alone receives signals
        pass
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
