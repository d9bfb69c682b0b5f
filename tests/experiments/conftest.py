"""Small datasets for the experiments: real digits, few of them, and a folder of pictures."""

import pytest

from experiments import data

from .folders import write_classes


@pytest.fixture
def few_digits(monkeypatch):
    """Make digits 100 training, 100 validation and 100 test images."""
    train, validation, test = data.load("digits").splits
    few = data.Dataset(
        data.Split(train.images[:100], train.labels[:100]),
        data.Split(validation.images[:100], validation.labels[:100]),
        data.Split(test.images[:100], test.labels[:100]),
    )
    monkeypatch.setattr(data.digits, "load", lambda: few)
    return few


@pytest.fixture
def cache_here(tmp_path, monkeypatch):
    """Keep what is decoded in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def animals(tmp_path):
    """A folder with a folder of pictures for each of three classes."""
    return write_classes(tmp_path / "animals")
