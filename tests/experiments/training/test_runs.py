"""Whole runs: their records, early ends, and resuming to the same bits."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.command_line import Diverged, Interrupted
from experiments.data import Dataset
from experiments.training import records, runs
from experiments.training.options import TrainingOptions
from experiments.training.trainer import Trainer
from tests.experiments.training.test_trainer import noise, parameters, score, small_model

DATASET = Dataset(noise(100), noise(40, seed=1), noise(40, seed=2))


def start(*, seeds=(0,), scored=score, rate=0.01):
    trainer = Trainer(scored, optax.sgd(rate, 0.9), DATASET.train, batch_size=20)
    models = [small_model(seed) for seed in seeds]
    trainer.start(*(models, seeds) if len(seeds) > 1 else (models[0], seeds[0]))
    return trainer


def without_seconds(histories):
    return [[{**entry, "seconds": 0} for entry in history] for history in histories]


def test_history_and_records(tmp_path):
    histories = runs.run("noise", start(), DATASET, TrainingOptions(epochs=3), tmp_path)
    (history,) = histories
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    splits, values = ("train", "validation", "test"), ("loss", "accuracy")
    names = {f"{split}_{value}" for split in splits for value in values}
    assert set(history[0]) == {"epoch", "seconds", *names}
    assert records.read_metrics(tmp_path) == histories
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"]["epochs"] == 3
    assert config["environment"]["jax"] == jax.__version__
    assert list(tmp_path.glob("events.out.tfevents.*"))
    losses = [entry["validation_loss"] for entry in history]
    kept = {"10", "15", str(5 * (1 + int(np.argmin(losses))))}  # the newest two and the best
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} <= kept


def test_several_seeds_have_a_history_each(tmp_path):
    trainer = start(seeds=(3, 4))
    histories = runs.run("noise", trainer, DATASET, TrainingOptions(epochs=2, seeds=2), tmp_path)
    assert len(histories) == 2
    assert histories[0][0]["train_loss"] != histories[1][0]["train_loss"]
    assert records.read_metrics(tmp_path) == histories


def test_interrupted_and_continued_it_is_the_undisturbed_run(tmp_path, monkeypatch):
    expected = start()
    undisturbed = runs.run("noise", expected, DATASET, TrainingOptions(epochs=4))

    options = TrainingOptions(epochs=4, checkpoint_seconds=None)
    for stops_after in (3, 9, 15):  # within an epoch, in the next, at the end of one
        trainer = start()
        advance = trainer.advance

        def until(steps, trainer=trainer, advance=advance, stops_after=stops_after):
            advance(1)
            if trainer.steps_done == stops_after:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(trainer, "advance", until)
        with pytest.raises(Interrupted, match=f"--resume {tmp_path.parent} continues it"):
            runs.run("noise", trainer, DATASET, options, tmp_path)
        options = TrainingOptions(epochs=4, checkpoint_seconds=None, resume=True)
    trainer = start()
    histories = runs.run("noise", trainer, DATASET, options, tmp_path)
    assert without_seconds(histories) == without_seconds(undisturbed)
    assert without_seconds(records.read_metrics(tmp_path)) == without_seconds(undisturbed)
    for a, b in zip(parameters(trainer), parameters(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_stops_when_the_validation_loss_has_stopped_falling(tmp_path):
    options = TrainingOptions(epochs=50, patience=2)
    trainer = start(rate=0.3)  # learns 100 noisy images by heart
    (history,) = runs.run("noise", trainer, DATASET, options, tmp_path)
    losses = [entry["validation_loss"] for entry in history]
    assert len(losses) < 50
    assert int(np.argmin(losses)) == len(losses) - 3
    best = trainer.steps_per_epoch * (len(losses) - 2)
    assert (tmp_path / "checkpoints" / str(best)).is_dir()


def burst_in_values(model, images, labels):
    bias = model.out.bias
    bias[...] = jnp.where(bias[...].sum() == 0, bias[...], jnp.inf)
    return score(model, images, labels)


def burst_in_gradients(model, images, labels):
    values = score(model, images, labels)
    values["loss"] += jnp.sqrt(jnp.abs(model.out.bias[...]).sum())  # infinitely steep at 0
    return values


@pytest.mark.parametrize(
    ("scored", "step", "culprit"),
    [
        (burst_in_values, 2, r"the output of out \(Linear\)"),
        (burst_in_gradients, 1, "the gradient of out's bias"),
    ],
)
def test_names_the_layer_that_was_not_finite(scored, step, culprit, tmp_path):
    pattern = f"noise: {culprit} is not finite in step {step} of epoch 1, which was not taken"
    with pytest.raises(Diverged, match=pattern):
        runs.run("noise", start(scored=scored), DATASET, TrainingOptions(epochs=2), tmp_path)


def test_a_metric_that_is_not_finite_ends_the_run_and_is_recorded(tmp_path):
    def scored(model, images, labels):
        values = score(model, images, labels)
        return values | {"extra": jnp.full(len(images), jnp.inf)}

    message = "noise: train_extra is inf after epoch 1. A lower --learning-rate"
    with pytest.raises(Diverged, match=message):
        runs.run("noise", start(scored=scored), DATASET, TrainingOptions(epochs=3), tmp_path)
    ((entry,),) = records.read_metrics(tmp_path)
    assert entry["train_extra"] == np.inf
    assert np.isfinite(entry["test_loss"])
