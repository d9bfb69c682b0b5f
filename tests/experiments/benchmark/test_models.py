"""The suite `models`, on a model of one layer."""

import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import models, zoo
from experiments.benchmark.cases import MODELS, matching_models


def one_layer(name, scale=1.0):
    images, labels = zoo.batch(2, 8)
    kernel = scale * jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 3, zoo.NUM_CLASSES)))

    def loss(kernel, images, labels):
        y = lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return zoo.cross_entropy(jnp.mean(y, (1, 2)), labels)

    return zoo.Model(loss, kernel.astype(jnp.float32), images, labels)


def test_each_model_has_a_maker_and_a_package():
    assert list(zoo.MAKERS) == list(MODELS)
    assert matching_models(["haiku-*"]) == ["haiku-resnet18", "haiku-mobilenet-v1"]


def test_both_orders_are_measured_in_both_modes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "load", one_layer)
    options = {"repeats": 1, "output_dir": tmp_path, "malloc_tuning": False}
    config = benchmark.Config(suite="models", cases=("resnet50",), **options)
    rows = benchmark.main(config)["models"]
    assert [(row["case"], row["mode"]) for row in rows] == [
        ("resnet50", "entry"),
        ("resnet50", "scan"),
    ]
    for row in rows:
        assert row["errors"] == {}
        for measured in ("seconds", "compile_seconds", "temporary", "losses"):
            assert set(row[measured]) == {"plain", "before", "after"}
        assert all(timing["median"] > 0 for timing in row["seconds"].values())
        assert all(seconds > 0 for seconds in row["compile_seconds"].values())
    # The second step starts from other parameters.
    assert rows[0]["losses"]["plain"] != rows[1]["losses"]["plain"]
    shown = capsys.readouterr().out
    assert "entry: 1 models" in shown
    assert "scan: 1 models" in shown


def test_a_missing_package_is_said_in_a_line(machine, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "resnet50", "no_such_package")
    rows = list(models.rows(["resnet50"], modes=("entry",), repeats=1, machine=machine))
    models.print_table(rows)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "resnet50" in line]
    assert 'no_such_package is missing: pip install "jaxconv[models]"' in line


def test_a_wrong_loss_is_not_timed(machine, monkeypatch):
    monkeypatch.setattr(zoo, "load", one_layer)
    monkeypatch.setattr(models, "TOLERANCE", -1.0)
    (row,) = models.rows(["resnet50"], modes=("entry",), repeats=1, machine=machine)
    assert set(row["errors"]) == {"plain", "before", "after"}
    assert row["seconds"] == {}


def test_means_are_geometric():
    def row(case, plain, before, after):
        seconds = {"plain": plain, "before": before, "after": after}
        return {
            "case": case,
            "mode": "entry",
            "seconds": {order: {"median": value} for order, value in seconds.items()},
            "compile_seconds": {"plain": 2.0, "before": 1.0, "after": 1.0},
        }

    (mean,) = models.summary([row("a", 8.0, 1.0, 2.0), row("b", 2.0, 1.0, 2.0)])
    assert (mean["before"], mean["after"]) == pytest.approx((4.0, 2.0))
    assert (mean["least"], mean["least_case"], mean["compile"]) == (1.0, "b", 0.5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODELS)
def test_models_can_be_made(name):
    if importlib.util.find_spec(MODELS[name]) is None:
        pytest.skip(f"{MODELS[name]} is not installed")
    model = zoo.load(name)
    assert np.isfinite(float(model.loss(model.params, model.images, model.labels)))
