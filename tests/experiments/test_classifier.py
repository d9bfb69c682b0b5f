"""The classifier: its networks, a few steps of `main`, and its table."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import classifier
from experiments.classifier import Config
from experiments.networks import classifiers, plain


def count_parameters(model):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("standard", 832 + 25_632 + 131_328 + 2_570),
        ("modified", 832 + 25_632 + 131_328 + 3_232 + 5_450),
    ],
)
def test_network_has_the_parameters_of_the_architecture(name, size):
    network = classifiers.NETWORKS[name]
    assert count_parameters(network(nnx.Rngs(0))) == size
    assert count_parameters(network(nnx.Rngs(0), nn=plain, relu=plain.relu)) == size


@pytest.mark.parametrize("name", ["modified"])  # the standard one is a part of it
def test_our_gradients_are_those_of_autodiff(name, few_digits):
    """For the same parameters and images, gradients agree with plain Flax to rounding."""
    ours = classifiers.NETWORKS[name](nnx.Rngs(0))
    flax = classifiers.NETWORKS[name](nnx.Rngs(0), nn=plain, relu=plain.relu)
    images = jnp.asarray(few_digits.train.images[:8], jnp.float32) / 255
    labels = jnp.asarray(few_digits.train.labels[:8])
    leaves = jax.tree.leaves(nnx.state(ours, nnx.Param))

    def loss_and_gradient(model, score):
        model.eval()
        definition, params, others = nnx.split(model, nnx.Param, ...)
        params = jax.tree.unflatten(jax.tree.structure(params), leaves)

        def loss(params):
            return score(nnx.merge(definition, params, others), images, labels)["loss"].mean()

        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        return value, jax.tree.leaves(gradient)

    value, gradient = loss_and_gradient(ours, classifiers.score)
    expected_value, expected = loss_and_gradient(flax, plain.with_optax_loss(classifiers.score))
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(gradient, expected, strict=True):
        # Sums of up to 8·24² products, each of them rounded.
        bound = 8 * 24**2 * np.finfo(np.float32).eps * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


@pytest.mark.usefixtures("tiny_networks")
def test_main_learns_prints_and_saves(few_digits, tmp_path, capsys):
    config = Config(output_dir=tmp_path, epochs=3, batch_size=10)
    metrics = classifier.main(config)
    for name in ("standard", "modified"):
        (history,) = metrics["histories"][name]
        losses = [entry["train_loss"] for entry in history]
        assert len(losses) == 3
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]
    assert (
        json.loads((tmp_path / "classifier.json").read_text())["histories"] == metrics["histories"]
    )
    assert (tmp_path / "classifier.png").stat().st_size > 1_000
    header, *rows, finding = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.split("|")] == ["Type", "Epoch", "Accuracy", "Time"]
    assert [row.split("|")[0].strip() for row in rows] == ["standard"] * 2 + ["modified"] * 2
    assert [int(row.split("|")[1]) for row in rows] == [1, 3, 1, 3]
    assert finding.startswith("The branch changes test accuracy by")


@pytest.mark.exhaustive
def test_autodiff_baseline_trains(few_digits):
    config = Config(gradients="autodiff", learning_rate=0.05, epochs=3, batch_size=10)
    (history,) = classifier.train("standard", config, few_digits)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_table_has_mean_and_spread():
    runs = [
        [{"epoch": e, "test_accuracy": a + e / 10, "seconds": 2.0} for e in (1, 2)]
        for a in (0.5, 0.6)
    ]
    assert classifier.table({"standard": runs}).splitlines()[1:] == [
        "standard   |     1 |    65.00% ± 7.07 |    2.00 s",
        "standard   |     2 |    75.00% ± 7.07 |    2.00 s",
    ]
