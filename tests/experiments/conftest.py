"""A small dataset for the experiments' `main`s: real digits, few of them."""

import pytest

from experiments import data


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
