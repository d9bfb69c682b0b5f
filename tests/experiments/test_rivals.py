"""What the autoencoders are measured by: as good as the exact method, within bounds."""

import tracemalloc

import numpy as np
import pytest

from experiments import autoencoder, rivals
from experiments.data import Dataset, Split


def images_of(shape, *, seed=0):
    """A few patterns in changing strengths, and noise: uint8 `(n, h, w, c)`."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(12, *shape[1:]))
    strengths = rng.normal(size=(shape[0], 12)) / np.arange(1, 13)
    values = 128 + 30 * np.tensordot(strengths, patterns, 1) + 4 * rng.normal(size=shape)
    return np.clip(values, 0, 255).astype(np.uint8)


def dataset_of(*shape):
    labels = np.arange(shape[0], dtype=np.int32) % 2
    return Dataset(*(Split(images_of(shape, seed=seed), labels) for seed in range(3)), ("a", "b"))


def test_pca_of_large_images_is_nearly_the_exact_one(monkeypatch):
    from sklearn.decomposition import PCA

    monkeypatch.setattr(rivals, "_BLOCK", 100 * 36 * 36)  # several blocks, the last one shorter
    dataset = dataset_of(230, 36, 36, 1)
    assert dataset.train.images[0].size > rivals._EXACT
    shown = autoencoder.one_of_each_class(dataset.test)
    errors = rivals.pca(dataset, shown, 10).metrics["pca_mse"]
    train, test = (s.images.reshape(s.size, -1) / 255 for s in (dataset.train, dataset.test))
    for size, error in errors.items():
        fitted = PCA(size, svd_solver="full").fit(train)
        expected = np.mean((test - fitted.inverse_transform(fitted.transform(test))) ** 2)
        # The signal is twelve patterns: 10 axes find ten of them; what 32 and 64 axes add is noise,
        # in which no direction is better than another.
        assert error == pytest.approx(expected, rel=0.01)


def test_axes_are_orthonormal_and_no_more_than_there_are():
    for shape, count in (((3, 40, 40, 1), 3), ((30, 4, 4, 1), 16)):  # few images, few pixels
        _, axes = rivals.principal_axes(images_of(shape), 64)
        assert axes.shape == (count, shape[1] * shape[2])
        np.testing.assert_allclose(axes @ axes.T, np.eye(count), atol=1e-5)


@pytest.mark.parametrize("value", [0, 255])
def test_constant_images_have_no_error(value):
    for side in (16, 40):
        dataset = dataset_of(8, side, side, 1).map_splits(
            lambda split: Split(np.full_like(split.images, value), split.labels)
        )
        shown = autoencoder.one_of_each_class(dataset.test)
        errors = rivals.pca(dataset, shown, 2).metrics["pca_mse"]
        np.testing.assert_allclose(list(errors.values()), 0, atol=1e-12)


def test_images_of_128x128x3_fit_into_memory():
    dataset = dataset_of(24, 128, 128, 3)
    shown = autoencoder.one_of_each_class(dataset.test)
    tracemalloc.start()
    try:
        rivals.pca(dataset, shown, 64)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**28  # a covariance matrix would have 18 GiB


def noise(key, images):
    return images + 0.5


def test_a_rival_that_takes_longer_than_training_is_given_up(few_digits, monkeypatch, capsys):
    monkeypatch.setattr(rivals, "_LEAST_SECONDS", -1)
    shown = autoencoder.one_of_each_class(few_digits.test)
    given_up = rivals.pca(few_digits, shown, 20, seconds=-1)
    assert (given_up.rows, dict(given_up.columns)) == ((), {})
    given_up = rivals.filters(few_digits, shown, noise, seconds=-1)
    assert given_up.rows == ()
    np.testing.assert_allclose(given_up.inputs, shown.images / 255 + 0.5, rtol=1e-6)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("note: PCA was given up")
    assert second.startswith("note: noise filters were given up")


def test_of_large_images_fewer_are_filtered(few_digits, monkeypatch, capsys):
    shown = autoencoder.one_of_each_class(few_digits.test)
    whole = rivals.filters(few_digits, shown, noise).metrics["filter_mse"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(rivals, "_BLOCK", 16 * 30 * 28 * 28)  # does not divide 100 images
    assert rivals.filters(few_digits, shown, noise).metrics["filter_mse"] == whole
    monkeypatch.setattr(rivals, "_SMALL", 7)  # pixels: 10,000 such images are 89 of 28×28
    rivals.filters(few_digits, shown, noise)
    said = capsys.readouterr().err
    assert said == "note: noise filters are measured on the first 89 test images\n"
