"""Small datasets and networks for the tests of the experiments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import data
from experiments.networks import autoencoders, classifiers
from experiments.networks.layers import Layers, Unflatten
from jaxconv import nn

from .data.folders import write_classes


@pytest.fixture
def few_digits(monkeypatch):
    """Make digits 100 training, 100 validation and 100 test images."""
    few = data.load("digits").map_splits(
        lambda split: data.Split(split.images[:100], split.labels[:100])
    )
    monkeypatch.setattr(data.digits, "load", lambda: few)
    return few


def tiny_network(rngs, shape, classes, **options):
    """A network that compiles quickly."""
    return Layers(
        flat=nn.Flatten(),
        dropout=nn.Dropout(0.25, rngs=rngs),
        out=nn.Linear(math.prod(shape), classes, rngs=rngs),
    )


class TinyAutoencoder(nnx.Module):
    """An autoencoder that compiles quickly."""

    def __init__(self, *, code_size, shape, tied, rngs, **options):
        h, w, c = shape
        pooled = {"window_shape": (4, 4), "rngs": rngs}
        conv1 = nn.ConvBlock(c, 2 if tied else 3, (h // 2 + 1, w // 2 + 1), **pooled)
        size = math.prod(jax.eval_shape(conv1, jnp.zeros((1, *shape))).shape)
        code = nn.Linear(size, code_size, rngs=rngs)
        self.encode = Layers(conv1=conv1, flat=nn.Flatten(), code=code)
        wide = nn.Linear(code_size, math.prod(shape), rngs=rngs)
        self.decode = Layers(wide=wide, map=Unflatten(shape))
        self.code_size, self.is_variational = code_size, False

    def __call__(self, images):
        return self.decode(self.encode(images))


@pytest.fixture
def tiny_networks(monkeypatch):
    """Replace the networks of the experiments by tiny ones."""
    for name in classifiers.NETWORKS:
        monkeypatch.setitem(classifiers.NETWORKS, name, tiny_network)
    monkeypatch.setattr(autoencoders, "Autoencoder", TinyAutoencoder)


@pytest.fixture
def arrays(tmp_path):
    """The name of a dataset of 60 images of 8×8 pixels in two classes."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    images[::2, :4] = 0
    np.savez(tmp_path / "arrays.npz", images=images, labels=np.array(["a", "b"])[np.arange(60) % 2])
    return f"npz:{tmp_path / 'arrays.npz'}"


@pytest.fixture
def cache_here(tmp_path, monkeypatch):
    """Keep decoded images in the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def animals(tmp_path):
    """A folder with a folder of images for each of three classes."""
    return write_classes(tmp_path / "animals")
