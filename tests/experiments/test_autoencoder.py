"""The autoencoder: tied kernels, PCA, filters, and a few steps of `main`."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import autoencoder
from experiments.autoencoder import Config
from experiments.data import Split
from experiments.networks import classical
from experiments.networks.autoencoders import NOISES, Autoencoder


def build(tied, *, seed=0, brightness=0.1):
    return Autoencoder(
        code_size=16, dropout=0.5, tied=tied, brightness=brightness, rngs=nnx.Rngs(seed)
    )


def count_parameters(model):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_tied_decoder_adds_no_kernels():
    encoder = 832 + 25_632 + 512 * 16 + 16
    decoder = 16 * 512 + 512 + 32 + 1  # dense layer, and the biases of the transposed convolutions
    assert count_parameters(build(tied=True)) == encoder + decoder
    assert count_parameters(build(tied=False)) == encoder + decoder + 32 * 32 * 25 + 32 * 25


@pytest.mark.parametrize("tied", [True, False])
def test_shapes_and_live_output(tied, few_digits):
    model = build(tied)
    model.eval()
    images = jnp.asarray(few_digits.test.images[:4], jnp.float32) / 255
    codes, reconstructions = nnx.jit(lambda model, x: (model.encode(x), model(x)))(model, images)
    assert codes.shape == (4, 16)
    assert reconstructions.shape == images.shape
    assert (reconstructions > 0).mean() > 0.25  # relu passes errors on


def test_pca_is_sklearns(few_digits):
    from sklearn.decomposition import PCA

    shown = autoencoder.one_of_each_class(few_digits.test)
    rival = classical.pca(few_digits, shown, 20)
    errors, (images,) = rival.metrics["pca_mse"], rival.columns.values()
    assert list(errors) == [20, 32, 64]
    train, test, few = (
        split.images.reshape(split.size, -1) / 255
        for split in (few_digits.train, few_digits.test, shown)
    )
    for size, error in errors.items():
        fitted = PCA(size, svd_solver="full").fit(train)
        expected = fitted.inverse_transform(fitted.transform(test))
        np.testing.assert_allclose(error, np.mean((test - expected) ** 2), rtol=1e-6)
    fitted = PCA(20, svd_solver="full").fit(train)
    expected = fitted.inverse_transform(fitted.transform(few))
    np.testing.assert_allclose(images.reshape(10, -1), expected, atol=1e-6)


def test_one_of_each_class(few_digits):
    assert list(autoencoder.one_of_each_class(few_digits.test).labels) == list(range(10))
    many = Split(np.zeros((900, 2, 2, 1), np.uint8), np.arange(900) % 300)
    assert list(autoencoder.one_of_each_class(many).labels) == list(range(20))  # a figure's width


@pytest.mark.usefixtures("tiny_networks")
def test_main_learns_prints_and_saves(few_digits, tmp_path, capsys):
    config = Config(output_dir=tmp_path, epochs=3, batch_size=10, decoder="both", code_size=64)
    metrics = autoencoder.main(config)
    variance = np.var(few_digits.test.images / 255, axis=0).mean()
    for name in ("tied", "untied"):
        (history,) = metrics["histories"][name]
        errors = [entry["test_mse"] for entry in history]
        assert np.isfinite(errors).all()
        assert errors[-1] < errors[0]
        # A dead output relu would leave the error at the images' mean square.
        assert errors[-1] < np.mean((few_digits.test.images / 255) ** 2)
    assert 0 <= metrics["pca_mse"][64] < metrics["pca_mse"][32] < variance
    saved = json.loads((tmp_path / "autoencoder.json").read_text())
    assert saved["histories"] == metrics["histories"]
    assert (tmp_path / "autoencoder.png").stat().st_size > 1_000
    methods = [line.split("|")[0].strip() for line in capsys.readouterr().out.splitlines()]
    networks = ["tied", "tied", "untied", "untied"]
    assert methods[:-1] == ["Method", *networks, "mean image", "PCA", "PCA"]
    assert methods[-1].startswith(
        f"Results are in {tmp_path}; to use it: python -m experiments.pre"
    )
    assert metrics["mean_image_mse"] == pytest.approx(
        np.mean((few_digits.test.images / 255 - few_digits.train.images.mean(axis=0) / 255) ** 2)
    )


def test_filters_are_chosen_and_improve_noisy_images(few_digits):
    shown = autoencoder.one_of_each_class(few_digits.test)
    corrupt = functools.partial(NOISES["gaussian"], level=0.5)
    rival = classical.filters(few_digits, shown, corrupt)
    errors = rival.metrics["filter_mse"]
    np.testing.assert_allclose(errors["noisy"], 0.25, rtol=0.05)  # the square of its level
    assert all(errors[name] < errors["noisy"] / 4 for name in ("median", "Wiener", "Gaussian"))
    ((best, images),) = rival.columns.items()
    assert errors[best] == min(errors.values())
    improved = np.mean((images - shown.images / 255) ** 2)
    assert improved < np.mean((rival.inputs - shown.images / 255) ** 2) / 4


def test_the_mean_image_in_nats(few_digits):
    p = np.clip(few_digits.train.images.mean(axis=0) / 255, 1 / 510, 1 - 1 / 510)
    x = few_digits.test.images / 255
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()
    assert classical.mean_image(few_digits, variational=True) == pytest.approx(expected)


@pytest.mark.parametrize("output", ["relu", "sigmoid"])
def test_a_dead_relu_is_named_and_a_sigmoid_cannot_die(output, few_digits, capsys):
    options = {"code_size": 4, "dropout": 0.0, "tied": True, "brightness": 0.1, "output": output}
    model = Autoencoder(**options, rngs=nnx.Rngs(0))
    model.eval()
    start = np.asarray(model(jnp.zeros((1, 28, 28, 1)))).mean()
    assert start == pytest.approx(0.1, abs=0.01)  # the brightness, also before a sigmoid
    autoencoder.note_if_constant("tied", model, few_digits.test.images)
    assert capsys.readouterr().err == ""
    model.decode.deconv1.bias[...] = jnp.float32([-50])
    autoencoder.note_if_constant("tied (seed 3)", model, few_digits.test.images)
    said = capsys.readouterr().err
    assert said.startswith("note: tied (seed 3) reconstructs all images as the same one. ")
    assert ("Its last relu is dead, which --output sigmoid cannot be" in said) == (output == "relu")
    # Images that are all alike are no failure.
    autoencoder.note_if_constant("tied", model, np.repeat(few_digits.test.images[:1], 5, axis=0))
    assert capsys.readouterr().err == ""


def test_a_dead_channel_is_named(monkeypatch, capsys):
    def model(images):
        return images * jnp.array([1.0, 0.0, 1.0])

    model.is_variational = False
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    monkeypatch.setattr(autoencoder, "reconstruct", lambda model, images: model(images))
    autoencoder.note_if_constant("tied", model, images)
    assert "tied reconstructs all images as the same one in channel 1. Its last relu" in (
        capsys.readouterr().err
    )
