"""TensorBoard reads the events of a run, and the profiler's trace is that of one epoch."""

import gzip
import json

import numpy as np
import pytest
from flax import nnx
from jax.profiler import ProfileData

from experiments import classifier
from experiments.networks import classifiers
from experiments.training.records import Records, read_metrics
from jaxconv import nn


def events(folder):
    """The steps and values of each scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def entries(*losses):
    return [{"epoch": epoch, "test_loss": loss} for epoch, loss in enumerate(losses, start=1)]


def test_tensorboard_reads_each_seeds_metrics(tmp_path):
    records = Records(tmp_path, {})
    records.write([entries(0.5)])
    records.write([entries(0.5, 0.25)])
    records.close()
    assert events(tmp_path)["test_loss"] == [(1, 0.5), (2, 0.25)]

    records = Records(tmp_path / "seeds", {})
    records.write([entries(0.5), entries(0.75)])
    records.close()
    found = events(tmp_path / "seeds")
    assert found["test_loss/seed_0"] == [(1, 0.5)]
    assert found["test_loss/seed_1"] == [(1, 0.75)]


def test_a_continued_run_has_each_epoch_once(tmp_path):
    """A killed run may have written an epoch after its checkpoint. The resumed run replaces it."""
    for losses in ([0.5, 0.3], [0.5, 0.25, 0.125]):
        records = Records(tmp_path, {})
        records.write([entries(*losses)])
        records.close()
    assert events(tmp_path)["test_loss"] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert read_metrics(tmp_path) == [entries(0.5, 0.25, 0.125)]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """The folder of a run with `--profile`."""
    from experiments import data

    train, validation, test = data.load("digits").splits
    few = data.Dataset(*(data.Split(*(a[:100] for a in s)) for s in (train, validation, test)))
    folder = tmp_path_factory.mktemp("profiled")

    def small_network(rngs, shape, classes):
        return nnx.Sequential(nn.Flatten(), nn.Linear(28 * 28, classes, rngs=rngs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classifiers.NETWORKS, "standard", small_network)
        config = classifier.Config(epochs=2, batch_size=10, profile=True)
        histories = classifier.train("standard", config, few, folder=folder)
    return folder, histories


def test_tensorboard_reads_what_a_run_wrote(profiled):
    folder, (history,) = profiled
    found = events(folder)
    assert set(found) == set(history[0])
    for name, points in found.items():
        expected = np.float32([entry[name] for entry in history])
        np.testing.assert_array_equal([value for _, value in points], expected)
        assert [step for step, _ in points] == [1, 2]


def test_profile_is_a_trace_of_one_epoch(profiled):
    folder, _ = profiled
    (trace,) = (folder / "trace" / "plugins" / "profile").iterdir()
    # TensorBoard's profile tab reads the first, Perfetto the second.
    (planes,) = trace.glob("*.xplane.pb")
    events = [
        event.name
        for plane in ProfileData.from_file(str(planes)).planes
        for line in plane.lines
        for event in line.events
    ]
    assert any("advance" in name for name in events)
    with gzip.open(trace / "perfetto_trace.json.gz", "rt") as opened:
        names = [event.get("name", "") for event in json.load(opened)["traceEvents"]]
    assert any("advance" in name for name in names)
    # One epoch's: the second is traced, the first warms up. Both evaluations lie outside.
    assert not any("_run_evaluation" in name for name in names)
