"""The classifier: its networks, a few steps of `main`, and its table."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import classifier
from experiments.classifier import Config
from experiments.command_line import run
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
    lines = capsys.readouterr().out.splitlines()
    header, *rows, finding = lines[:6]
    assert [cell.strip() for cell in header.split("|")] == [
        *("Type", "Epoch", "Test accuracy", "Time")
    ]
    assert [row.split("|")[0].strip() for row in rows] == ["standard"] * 2 + ["modified"] * 2
    assert [int(row.split("|")[1]) for row in rows] == [1, 3, 1, 3]
    assert "branch changes test accuracy by" in finding
    assert lines[6].split() == ["class", "test", "images", "standard", "modified"]
    assert [line.split()[0] for line in lines[7:18]] == [*"0123456789", "mean:"]
    (place,) = re.findall(r"predict --run (\S+) IMAGE.png$", lines[18])
    assert place in (str(tmp_path / name) for name in metrics["histories"])
    assert f"Results are in {tmp_path}; " in lines[18]
    for name in ("standard", "modified"):
        matrix = np.loadtxt(
            tmp_path / f"confusion-{name}.csv", delimiter=",", skiprows=1, usecols=range(1, 11)
        )
        assert matrix.sum() == 100
        # The matrix is that of the weights whose accuracy the table shows.
        accuracy = metrics["histories"][name][0][-1]["test_accuracy"]
        assert matrix.trace() == pytest.approx(100 * accuracy)
        assert (tmp_path / f"confusion-{name}.png").stat().st_size > 1_000


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


def entry(accuracy, loss=0.5, epoch=1):
    return {"epoch": epoch, "test_accuracy": accuracy, "train_loss": loss, "validation_loss": loss}


def test_a_finding_of_few_images_says_that_it_may_be_chance(few_digits):
    few = few_digits._replace(test=few_digits.test._replace(labels=np.zeros(300, int)))

    def said(standard, modified, dataset):
        runs = {"standard": standard, "modified": modified}
        return classifier.finding({k: [[entry(a)] for a in v] for k, v in runs.items()}, dataset)

    one = said([0.95], [0.96], few)
    # Of each network, where an image more is right and one more is wrong.
    variance = sum(p * (1 - p) / 300 for p in (286 / 302, 289 / 302))
    assert one.startswith("No finding, because chance explains it: the branch changes test")
    assert f"+1.00 ± {196 * variance**0.5:.2f} points after epoch 1 (95 % intervals of 300" in one
    assert "does not show how much seeds differ" in one
    many = few._replace(test=few.test._replace(labels=np.zeros(10_000, int)))
    assert said([0.95, 0.951], [0.97, 0.971], many).startswith("The branch changes test accuracy")
    # Seeds that differ by more than the effect explain it, too.
    assert said([0.90, 0.98], [0.97, 0.971], many).startswith("No finding")


def test_accuracy_of_each_class_and_of_the_worst_of_many(capsys):
    matrix = np.array([[8, 0, 2], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(classifier.accuracies(matrix), [0.8, np.nan, 0.0])
    classifier.print_classes({"small": matrix}, ["a", "[b]", "c"], seeds=1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["a", "10", "80.00%,", "2", "as", "c"],
        ["[b]", "0", "-"],
        ["c", "1", "0.00%,", "1", "as", "a"],
        ["mean:", "balanced", "accuracy", "40.00%"],
    ]
    many = np.eye(30, dtype=int)
    many[28] = many[0]
    classifier.print_classes({"small": many}, [f"kind{i}" for i in range(30)], seeds=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 20 + 2
    assert "kind28" in lines[20]
    assert lines[21].strip() == "(10 better ones)"


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.usefixtures("tiny_networks")
def test_unbalanced_classes(weights, tmp_path, capsys):
    """The rare class looks like the frequent one, with a faint mark."""
    images = np.random.default_rng(0).integers(0, 256, (103, 8, 8), np.uint8)
    images[100:, :4] = 255
    labels = np.array(["often"] * 100 + ["rare"] * 3)
    np.savez(tmp_path / "arrays.npz", images=images, labels=labels)
    config = Config(
        **{"dataset": f"npz:{tmp_path / 'arrays.npz'}", "output_dir": tmp_path / "run"},
        **{"model": "small", "epochs": 2, "class_weights": weights, "learning_rate": 1e-6},
    )
    metrics = classifier.main(config)
    out, err = capsys.readouterr()
    assert metrics["balanced_test_accuracy"]["small"] == pytest.approx(
        np.mean(list(metrics["test_accuracy_of_classes"]["small"].values()))
    )
    advice = "often for every image would be right in 93.75% of the test images. --class-weights"
    assert (advice in out) == (weights == "none")
    # With weights the shares of the classes are worth as much as two equal ones.
    constant = (
        np.log(2) if weights == "balanced" else -np.dot([0.986, 0.014], np.log([0.986, 0.014]))
    )
    assert "small has learned next to nothing: its loss is" in err
    (said,) = re.findall(r"and (\S+) if the answer is the same for all images", err)
    assert float(said) == pytest.approx(constant, abs=0.001)


def test_weights_multiply_the_loss_of_their_class():
    logits = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    labels = jnp.array([0, 1, 1])
    plainly = classifiers.score(lambda x: x, logits, labels)
    weighted = classifiers.score(lambda x: x, logits, labels, weights=(2.0, 0.5))
    np.testing.assert_allclose(
        weighted["loss"], plainly["loss"] * np.array([2, 0.5, 0.5]), rtol=1e-6
    )
    np.testing.assert_array_equal(weighted["accuracy"], plainly["accuracy"])


@pytest.mark.parametrize("size", [(1, 3), (8, 8), (28, 28), (30, 41), (224, 200)])
def test_the_network_for_photographs_takes_any_size(size):
    for c in (1, 3, 4):

        def shape(gradients, size=size, c=c):
            build = {"shape": (*size, c), "classes": 5, "gradients": gradients}
            model = classifiers.build("photo", **build, pixels=[[0.5] * c, [0.25] * c])
            model.eval()
            return model(jnp.zeros((2, *size, c)))

        for gradients in ("jaxconv", "autodiff"):
            assert jax.eval_shape(lambda g=gradients: shape(g)).shape == (2, 5)


def test_own_images_get_the_network_and_the_options_for_few_of_them():
    def chosen(*args):
        found = []

        def keep(config):
            found.append(config)

        run(keep, Config, args, presets=classifier.PRESETS)
        (config,) = found
        return config.networks, config.optimiser, config.schedule, config.learning_rate

    mine = ("--dataset", "folder:mine")
    published = "sgd", "constant", 0.01
    assert chosen() == (["standard", "modified"], *published)
    assert chosen(*mine) == (["photo"], "adamw", "one_cycle", 0.003)
    assert chosen(*mine, "--learning-rate", "0.1") == (["photo"], "adamw", "one_cycle", 0.1)
    assert chosen(*mine, "--model", "small") == (["small"], *published)
    assert chosen(*mine, "--preset", "original") == (["standard", "modified"], *published)
    assert chosen("--preset", "photo") == (["photo"], "adamw", "one_cycle", 0.003)


def test_pixels_of_own_images_are_standardised(tmp_path, few_digits):
    from experiments.training import processes

    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), np.uint8)
    images[..., 2] = 7  # a channel without contrast
    mean, deviation = processes.moments(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, (images / 255).std(axis=(0, 1, 2)), atol=1e-9)
    pixels = [mean, [max(each, 1 / 510) for each in deviation]]
    model = classifiers.build("photo", shape=(6, 5, 3), classes=2, pixels=pixels)
    seen = np.asarray(model.pixels(jnp.asarray(images / 255, jnp.float32)))
    np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=(0, 1, 2))[:2], 1, rtol=1e-5)


@pytest.mark.exhaustive
def test_defaults_learn_few_colour_photographs(tmp_path):
    """Shapes at random places, in random colours: 80 of each kind."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    for kind, draw in (
        ("circle", lambda d, x, y, r, fill: d.ellipse([x - r, y - r, x + r, y + r], fill)),
        ("square", lambda d, x, y, r, fill: d.rectangle([x - r, y - r, x + r, y + r], fill)),
        (
            "triangle",
            lambda d, x, y, r, fill: d.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill),
        ),
    ):
        (tmp_path / "shapes" / kind).mkdir(parents=True)
        for number in range(80):
            paper, fill = (tuple(map(int, rng.integers(0, 256, 3))) for _ in range(2))
            image = Image.new("RGB", (64, 64), paper)
            r = int(rng.integers(10, 22))
            draw(ImageDraw.Draw(image), *map(int, rng.integers(r, 64 - r, 2)), r, fill)
            image.save(tmp_path / "shapes" / kind / f"{number}.jpg")
    found = []
    args = ["--dataset", f"folder:{tmp_path / 'shapes'}", "--output-dir", str(tmp_path / "run")]
    run(lambda c: found.append(classifier.main(c)), Config, args, presets=classifier.PRESETS)
    ((history,),) = found[0]["histories"].values()
    # Chance is 1/3 of 36 images, with a standard deviation of 0.08.
    assert history[-1]["test_accuracy"] > 0.7
