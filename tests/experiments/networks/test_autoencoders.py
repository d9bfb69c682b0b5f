"""The autoencoder: its shapes, its noise, and the variational bounds compared with quadrature."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.command_line import UserError
from experiments.networks.autoencoders import (
    NOISES,
    Autoencoder,
    denoising_score,
    importance_weighted_nats,
    variational_score,
)
from jaxconv import nn

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 16, 20, 1)), jnp.float32)


def build(**options):
    shared = {"dropout": 0.0, "tied": False, "brightness": 0.2, "shape": (16, 20, 1)}
    return Autoencoder(**(shared | {"code_size": 1} | options), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(16, 16, 3), (20, 32, 1)])
@pytest.mark.parametrize("tied", [True, False])
def test_takes_its_geometry_from_the_images(shape, tied):
    model = build(shape=shape, tied=tied, code_size=5)
    assert jax.eval_shape(model, jnp.zeros((2, *shape))).shape == (2, *shape)


@pytest.mark.parametrize("variational", [True, False])
def test_hidden_layers_are_one_more_on_each_side(variational):
    def dense(hidden):
        model = build(code_size=5, hidden=hidden, variational=variational)
        parts = model.encode, model.decode
        of_parts = [[x for _, x in part.items() if isinstance(x, nn.Linear)] for part in parts]
        return [[layer.kernel.shape for layer in layers] for layers in of_parts]

    flat, code = 64, 10 if variational else 5
    assert dense(0) == [[(flat, code)], [(5, flat)]]
    assert dense(7) == [[(flat, 7), (7, code)], [(5, 7), (7, flat)]]


@pytest.mark.parametrize("shape", [(12, 28, 1), (28, 30, 1)])
def test_sides_that_do_not_fit(shape):
    with pytest.raises(UserError, match=r"multiples of 4, at least 16; .*--image-size") as error:
        build(shape=shape)
    fitting = re.findall(r"--image-size (\d+) (\d+)", str(error.value))
    assert fitting == [("16", "28") if shape[0] == 12 else ("28", "32")]
    build(shape=(*map(int, fitting[0]), 1))


def test_noise_is_new_in_training_and_the_same_in_evaluation():
    model = build()
    model.train()
    assert model.key() != model.key()
    model.eval()
    assert model.key() == model.key()


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_its_level(name):
    clean = jnp.full((40, 28, 28, 1), 0.5)
    noisy = NOISES[name](jax.random.key(0), clean, level=0.3)
    changed = float((noisy != clean).mean())
    if name == "gaussian":
        assert abs(float((noisy - clean).std()) - 0.3) < 0.01
    else:
        assert abs(changed - 0.3) < 0.02
        assert set(np.unique(noisy)) == ({0, 0.5} if name == "masking" else {0, 0.5, 1})


def test_denoising_is_judged_by_the_clean_images():
    model, seen = build(), []

    def corrupt(key, images):
        seen.append(images)
        return jnp.zeros_like(images)

    values = denoising_score(model, IMAGES, None, corrupt=corrupt)
    expected = ((model(jnp.zeros_like(IMAGES)) - IMAGES) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(values["mse"], expected, rtol=1e-5)


def log_evidence(model, images):
    """log p(x) for a code of size 1, by quadrature."""
    z = np.linspace(-8, 8, 401)
    logits = np.asarray(model.decode(jnp.asarray(z[:, None], jnp.float32)), np.float64)[..., 0]
    pixels = np.asarray(images, np.float64)[..., 0]
    likelihood = np.einsum("nhw,zhw->nz", pixels, logits) - np.logaddexp(0, logits).sum((1, 2))
    weighed = likelihood - z**2 / 2 - np.log(2 * np.pi) / 2 + np.log(z[1] - z[0])
    return np.logaddexp.reduce(weighed, axis=1)


@pytest.mark.exhaustive  # thousands of draws
def test_bounds_are_ordered_and_tight():
    """-log p(x) <= importance-weighted bound <= evidence bound, the former tight for many draws."""
    model = build(variational=True)
    model.eval()
    exact = -log_evidence(model, IMAGES)
    one = scores(model, IMAGES)["nats"].mean(axis=0)
    bound = jax.jit(
        lambda key: importance_weighted_nats(model, IMAGES, key=key, draws=2_000)
    )(jax.random.key(1))  # fmt: skip
    assert (exact < one).all()
    assert (np.asarray(bound) < one).all()
    np.testing.assert_allclose(bound, exact, rtol=2e-3)


def scores(model, images, **options):
    """The variational score under 300 keys."""

    def of_key(key):
        class Keyed:
            encode, decode = model.encode, model.decode

            @staticmethod
            def key():
                return key

        return variational_score(Keyed, images, None, **options)

    return jax.jit(jax.vmap(of_key))(jax.random.split(jax.random.key(0), 300))


def test_beta_weighs_the_divergence():
    model = build(variational=True)
    model.eval()
    values = variational_score(model, IMAGES, None, beta=3.0)
    expected = values["nats"] + 2 * values["divergence"]
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)
    assert (values["divergence"] > 0).all()


def test_binarised_pixels_are_drawn_with_their_probability():
    model = build(variational=True)
    model.eval()
    grey, drawn = (scores(model, IMAGES, binarise=binarise) for binarise in (False, True))
    # The decoder hears little of an untrained code: the misfit is nearly linear in the pixels.
    misfits = [(values["nats"] - values["divergence"]).mean(axis=0) for values in (grey, drawn)]
    np.testing.assert_allclose(*misfits, rtol=0.02)
    spread = (drawn["nats"] - drawn["divergence"]).std(axis=0)
    assert (spread > 3 * (grey["nats"] - grey["divergence"]).std(axis=0)).all()
