"""The suites `step`, `compile` and `memory` on tiny cases."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import compile as compiling
from experiments.benchmark import memory, step
from experiments.benchmark.cases import NETWORKS, matching
from experiments.benchmark.networks import flax_network, torch_network
from experiments.networks import classifiers
from experiments.training.steps import to_unit_interval
from jaxconv.nn import Flatten

TINY = "x=(2,7,6,4) kernel=(3,3,4,6) padding=SAME"
HAS_TORCH = importlib.util.find_spec("torch") is not None


def run(tmp_path, suite, *shapes, **options):
    options = {"repeats": 1, "output_dir": tmp_path, "malloc_tuning": False} | options
    record = benchmark.main(benchmark.Config(suite=suite, shape=shapes, **options))
    saved = json.loads((tmp_path / "benchmark.json").read_text())
    assert saved[suite] == json.loads(json.dumps(record[suite], default=str))
    return record


def small_network(peer, name):
    layers = nnx.Sequential(Flatten(), nnx.Linear(784, 10, rngs=nnx.Rngs(0)))
    return layers, classifiers.score


def test_steps_of_small_networks(machine, monkeypatch):
    monkeypatch.setattr(step, "flax_network", small_network)
    options = {"repeats": 1, "machine": machine, "batch_size": 2, "steps": 2}
    (row,) = step.rows(["standard"], peers=("autodiff",), **options)
    assert (row["case"], row["errors"]) == ("standard", {})
    assert set(row["seconds"]) == {"jaxconv", "autodiff"}


@pytest.mark.exhaustive
def test_steps(machine):
    networks = NETWORKS
    peers = ("autodiff", "torch") if HAS_TORCH else ("autodiff",)
    options = {"repeats": 1, "machine": machine, "batch_size": 2, "steps": 2}
    rows = list(step.rows(networks, peers=peers, **options))
    assert [row["case"] for row in rows] == list(networks)
    for row in rows:
        assert row["errors"] == {}
        assert set(row["seconds"]) == {"jaxconv", *peers}
        assert all(timing["median"] > 0 for timing in row["seconds"].values())


def test_step_whose_loss_is_no_number_is_not_timed(machine, monkeypatch):
    monkeypatch.setattr(step, "flax_network", small_network)
    monkeypatch.setattr(step, "LEARNING_RATE", float("nan"))
    options = {"repeats": 1, "machine": machine, "batch_size": 2, "steps": 2}
    (row,) = step.rows(["standard"], peers=(), **options)
    assert row["errors"] == {"jaxconv": "wrong result: the loss is nan"}
    assert row["seconds"] == {}


def count_parameters(peer, name):
    if peer == "torch":
        return sum(parameter.numel() for parameter in torch_network(name).parameters())
    model, _ = flax_network(peer, name)
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_same(name):
    sizes = [count_parameters(peer, name) for peer in ("jaxconv", "autodiff")]
    if HAS_TORCH:
        sizes.append(count_parameters("torch", name))
    assert len(set(sizes)) == 1


@pytest.mark.exhaustive
def test_plain_autoencoder_is_ours():
    """For the same parameters and images, the loss and its gradients agree to rounding."""
    images = to_unit_interval(jnp.asarray(step.noise(4).images))
    results = []
    for peer in ("jaxconv", "autodiff"):
        model, score = flax_network(peer, "autoencoder")
        model.eval()
        definition, params, others = nnx.split(model, nnx.Param, ...)
        rng = np.random.default_rng(0)
        params = jax.tree.map(
            lambda leaf, rng=rng: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype),
            params,
        )

        def loss(params, definition=definition, others=others, score=score):
            return score(nnx.merge(definition, params, others), images, None)["loss"].mean()

        results.append(jax.jit(jax.value_and_grad(loss))(params))
    (value, gradient), (expected_value, expected) = results
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        bound = 4 * 28**2 * np.finfo(np.float32).eps * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("compiled_anew")
def test_compile(tmp_path, capsys):
    record = run(tmp_path, "compile", TINY, cases=("m2s",), modes=("scan",))
    assert [(row["case"], row["mode"]) for row in record["compile"]] == [
        (TINY, "scan"),
        ("m2s", "scan"),
    ]
    for row in record["compile"]:
        assert set(row["seconds"]) == {"jaxconv", "autodiff"}
        # Some milliseconds at the least: nothing comes out of a cache.
        assert all(timing["lower"] > 1e-3 for timing in row["seconds"].values())
    assert {(mean["kind"], mean["peer"]) for mean in record["means"]} == {
        ("conv", "autodiff"),
        ("pool", "autodiff"),
    }
    assert "value_and_grad" in capsys.readouterr().out


@pytest.mark.exhaustive
@pytest.mark.usefixtures("compiled_anew")
def test_compile_of_training_loops(machine, monkeypatch):
    monkeypatch.setattr(compiling, "flax_network", small_network)
    options = {"repeats": 1, "dtype": "float32", "impl": None, "machine": machine, "batch_size": 2}
    assert list(compiling.rows([], NETWORKS, modes=("entry",), **options)) == []
    rows = list(compiling.rows([], ["standard"], modes=("entry", "scan"), **options))
    assert [(row["case"], row["mode"]) for row in rows] == [("standard", "scan")]
    assert compiling.count_rows([], NETWORKS, ("entry", "scan")) == len(NETWORKS)
    for row in rows:
        assert set(row["seconds"]) == {"jaxconv", "autodiff"}
        assert all(timing["lower"] > 1e-3 for timing in row["seconds"].values())


def test_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "flax_network", small_network)
    record = run(tmp_path, "memory", TINY, cases=("A", "m2s", "standard"))
    rows = {row["case"]: row for row in record["memory"]}
    assert [row["kind"] for row in record["memory"]] == ["conv", "conv", "block", "pool", "network"]
    for row in rows.values():
        assert set(row["bytes"]) == {"jaxconv", "autodiff"}
    # A convolution keeps its operands; our pool an int8 for each output, autodiff's the input.
    assert rows[TINY]["bytes"]["jaxconv"]["residuals"] == 4 * (2 * 7 * 6 * 4 + 3 * 3 * 4 * 6)
    assert rows["m2s"]["bytes"]["jaxconv"]["residuals"] == 500 * 4 * 4 * 32
    assert rows["m2s"]["bytes"]["autodiff"]["residuals"] >= 4 * 500 * 8 * 8 * 32
    (mean, *_) = [line for line in capsys.readouterr().out.splitlines() if "m2s" in line]
    assert mean


def test_residuals_are_counted_once():
    x = jax.ShapeDtypeStruct((10,), np.float32)
    assert memory.residual_bytes(lambda x: 2.0 * x, [x]) == 0
    assert memory.residual_bytes(jnp.sin, [x]) == 40  # cos(x)
    assert memory.residual_bytes(lambda x, y: x * y * y, [x, x]) <= 120


def test_temporary_memory_grows_with_what_is_in_between():
    def through(width):
        return lambda x, k: jnp.dot(jnp.sin(jnp.dot(x, jnp.ones((8, width)))), k).sum()

    small, large = (
        memory.temporary_bytes(
            through(width),
            [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((100, 8), (width, 8))],
        )
        for width in (10, 10_000)
    )
    assert large - small > 100 * 9_000 * 4


def test_count_of_memory_rows():
    cases = matching(["A", "B", "D", "m2"])
    assert memory.count_rows(cases, ["standard"]) == 4 + 2 + 1
