"""PCA and noise filters: PCA is as good as the exact one, and both limit their work."""

import tracemalloc

import numpy as np
import pytest

from experiments import autoencoder
from experiments.data import Dataset, Split
from experiments.networks import classical


def images_of(shape, *, seed=0):
    """Random mixtures of twelve patterns, and noise: uint8 `(n, h, w, c)`."""
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

    monkeypatch.setattr(classical, "_BLOCK", 100 * 36 * 36)  # several blocks, the last one shorter
    dataset = dataset_of(230, 36, 36, 1)
    assert dataset.train.images[0].size > classical._EXACT
    shown = autoencoder.one_of_each_class(dataset.test)
    errors = classical.pca(dataset, shown, 10).metrics["pca_mse"]
    train, test = (s.images.reshape(s.size, -1) / 255 for s in (dataset.train, dataset.test))
    fitted = PCA(max(errors), svd_solver="full").fit(train)
    for size, error in errors.items():
        codes, axes = fitted.transform(test)[:, :size], fitted.components_[:size]
        expected = np.mean((test - fitted.mean_ - codes @ axes) ** 2)
        # The signal is twelve patterns: 10 axes find ten of them; what 32 and 64 axes add is noise,
        # in which no direction is better than another.
        assert error == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("value", [0, 255])
def test_constant_images_have_no_error(value):
    for side in (16, 40):
        dataset = dataset_of(8, side, side, 1).map_splits(
            lambda split: Split(np.full_like(split.images, value), split.labels)
        )
        shown = autoencoder.one_of_each_class(dataset.test)
        errors = classical.pca(dataset, shown, 2).metrics["pca_mse"]
        np.testing.assert_allclose(list(errors.values()), 0, atol=1e-12)


def test_images_of_128x128x3_fit_into_memory():
    dataset = dataset_of(24, 128, 128, 3)
    shown = autoencoder.one_of_each_class(dataset.test)
    tracemalloc.start()
    try:
        classical.pca(dataset, shown, 64)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**28  # a covariance matrix would have 18 GiB


def noise(key, images):
    return images + 0.5


def test_pca_of_many_pixels_is_fitted_to_some_images(monkeypatch, capsys):
    monkeypatch.setattr(classical, "_FITTED", 100 * 36 * 36)
    dataset = dataset_of(230, 36, 36, 1)
    errors = classical.pca(dataset, autoencoder.one_of_each_class(dataset.test), 10).metrics
    assert all(0 < error < 0.01 for error in errors["pca_mse"].values())
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "note: PCA is fitted to 77 training images, one in 3"


def test_of_large_images_fewer_are_filtered(few_digits, monkeypatch, capsys):
    shown = autoencoder.one_of_each_class(few_digits.test)
    whole = classical.filters(few_digits, shown, noise).metrics["filter_mse"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(classical, "_BLOCK", 16 * 30 * 28 * 28)  # does not divide 100 images
    assert classical.filters(few_digits, shown, noise).metrics["filter_mse"] == whole
    monkeypatch.setattr(classical, "_FILTERED", 89 * 28 * 28)
    classical.filters(few_digits, shown, noise)
    said = capsys.readouterr().err
    assert said == "note: noise filters are measured on the first 89 test images\n"
