"""The convolutional autoencoder, and what it is asked for: to repeat, to clean, or to generate.

Plain, denoising and variational autoencoders are one network under three scores.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv import nn, relu, squared_error, tanh

from ._user_error import UserError
from .steps import at_least_float32

Shape = tuple[int, int, int]


class Autoencoder(nnx.Module):
    """28×28×1 -> 4×4×32 = 512 -> code -> 512 = 4×4×32 -> 28×28×1, or so for other sizes.

    Args:
      code_size: Width of the innermost dense layer.
      hidden: Width of one more dense layer on each side of the code; 0: none, as in that of G.
        Gwardys, 2016.
      dropout: Rate before the first dense layer of the encoder, and of the decoder.
      tied: The decoder's transposed convolutions share the encoder's kernels.
      brightness: Mean pixel of the training images. The output's bias starts there: the last relu
        starts alive at every pixel, whatever the sign of the first kernels' contribution.
      rngs: Streams `params`, `dropout` and `noise`.
      shape: `(h, w, c)` of the images; h and w are multiples of 4 from 16 upwards, for what two
        pools by 2 round away could not be given back.
      variational: The encoder gives mean and logarithm of the variance of a normal code, and the
        decoder logits; otherwise the code ends in tanh, the reconstruction in relu.
      nn, relu, tanh: Where the layers come from: jaxconv, or the plain Flax of baseline.py, which
        has tied ones only.

    Raises:
      UserError: A side does not fit.
    """

    def __init__(
        self,
        *,
        code_size: int,
        dropout: float,
        tied: bool,
        brightness: float,
        rngs: nnx.Rngs,
        shape: Shape = (28, 28, 1),
        variational: bool = False,
        hidden: int = 0,
        nn=nn,
        relu=relu,
        tanh=tanh,
    ):
        h, w, c = shape
        if h % 4 or w % 4 or min(h, w) < 16:
            raise UserError(
                f"the autoencoder's images must have sides that are multiples of 4, at least 16; "
                f"these are {h}×{w}. --image-size resizes them."
            )
        inner = (h - 12) // 4, (w - 12) // 4, 32  # (28 - 4)/2 = 12, (12 - 4)/2 = 4
        options = {"flip_kernel": True, "rngs": rngs}  # true convolution, Lasagne's default
        pooled = {"activation": "tanh", "window_shape": (2, 2)}
        first = nn.ConvBlock(c, 32, (5, 5), **pooled, **options)
        second = nn.ConvBlock(32, 32, (5, 5), **pooled, **options)
        # Of images that are all black or white, half a step of a pixel away from that.
        brightness = min(max(brightness, 1 / 510), 1 - 1 / 510)
        odds = math.log(brightness / (1 - brightness))
        to_brightness = nnx.initializers.constant(odds if variational else brightness)
        if tied:
            second_transposed = nn.ConvTranspose.tied(second)
            first_transposed = nn.ConvTranspose.tied(first, bias_init=to_brightness)
        else:
            second_transposed = nn.ConvTranspose(32, 32, (5, 5), **options)
            first_transposed = nn.ConvTranspose(32, c, (5, 5), bias_init=to_brightness, **options)

        def dense(features_in, features):
            if not hidden:
                return (nn.Linear(features_in, features, rngs=rngs),)
            between = nn.Linear(features_in, hidden, rngs=rngs), relu
            return *between, nn.Linear(hidden, features, rngs=rngs)

        self.encode = nnx.Sequential(
            first,  # 28 -> 24 -> 12
            second,  # 12 -> 8 -> 4
            nn.Flatten(),
            nn.Dropout(dropout, rngs=rngs),
            *dense(math.prod(inner), code_size * (2 if variational else 1)),
            *(() if variational else (tanh,)),
        )
        self.decode = nnx.Sequential(
            nn.Dropout(dropout, rngs=rngs),
            *dense(code_size, math.prod(inner)),
            tanh,
            partial(_unflatten, shape=inner),
            nn.Upscale((2, 2)),  # 4 -> 8
            second_transposed,  # -> 12
            relu,
            nn.Upscale((2, 2)),  # -> 24
            first_transposed,  # -> 28
            *(() if variational else (relu,)),
        )
        self.code_size, self.is_variational = code_size, variational
        self.noise = rngs.noise.fork()
        self.deterministic = False  # what train() and eval() set

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.decode(self.encode(images))

    def key(self) -> jax.Array:
        """A new key for each step of training; in evaluation the same, to compare epochs by."""
        return jax.random.key(0) if self.deterministic else self.noise()


def _unflatten(x, *, shape):
    return x.reshape(-1, *shape)


# ---- scores ----------------------------------------------------------------------------------


def score(model, images, labels, squared_error=squared_error):
    """Squared error summed over an image's pixels, which training minimises, and its mean."""
    return _errors(model(images), images, squared_error)


def _errors(reconstructed, images, squared_error=squared_error):
    errors = squared_error(at_least_float32(reconstructed), at_least_float32(images))
    return {"loss": errors.sum(axis=(1, 2, 3)), "mse": errors.mean(axis=(1, 2, 3))}


def denoising_score(model, images, labels, *, corrupt):
    """The errors of what is made of corrupted images, against the clean ones."""
    return _errors(model(corrupt(model.key(), images)), images)


def gaussian(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Add normal noise of standard deviation `level`."""
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def masking(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Set a fraction `level` of the pixels to 0."""
    return jnp.where(jax.random.bernoulli(key, level, images.shape), 0, images)


def salt_and_pepper(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Set a fraction `level` of the pixels to 0 or 1, as likely as each other."""
    hit, white = jax.random.split(key)
    extreme = jax.random.bernoulli(white, 0.5, images.shape).astype(images.dtype)
    return jnp.where(jax.random.bernoulli(hit, level, images.shape), extreme, images)


NOISES: dict[str, Callable[..., jax.Array]] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}


def variational_score(model, images, labels, *, beta=1.0, binarise=False):
    """The negative evidence lower bound in nats, its two terms, and the loss that weighs them.

        -log p(x) <= E_q(z|x)[-log p(x|z)] + KL(q(z|x) || p(z))

    with Bernoulli pixels, a standard normal p(z), and one draw of z. Grey pixels are taken as
    probabilities, or with `binarise` drawn as black or white, anew in each step.

    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114; beta:
    Higgins et al., "beta-VAE", ICLR 2017.
    """
    pixels, codes = jax.random.split(model.key())
    if binarise:
        images = jax.random.bernoulli(pixels, images).astype(images.dtype)
    mean, log_variance = posterior(model, images)
    z = draw(codes, mean, log_variance)
    misfit = -log_likelihood(model, images, z)
    divergence = 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=-1)
    return {
        "loss": misfit + beta * divergence,
        "nats": misfit + divergence,
        "divergence": divergence,
    }


def importance_weighted_nats(model, images, *, key, draws=50, binarise=False):
    """A tighter bound on -log p(x), in nats: the mean of `draws` importance weights in its place.

        -log p(x) <= E[-log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x)]

    Source: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016,
    arXiv:1509.00519.
    """
    pixels, codes = jax.random.split(key)
    if binarise:
        images = jax.random.bernoulli(pixels, images).astype(images.dtype)
    mean, log_variance = posterior(model, images)

    def log_weight(key):
        z = draw(key, mean, log_variance)
        # The constants of the two normal densities cancel.
        prior = -0.5 * (z**2).sum(axis=-1)
        centred = (z - mean) ** 2 * jnp.exp(-log_variance)
        proposal = -0.5 * (centred + log_variance).sum(axis=-1)
        return log_likelihood(model, images, z) + prior - proposal

    weights = jax.lax.map(log_weight, jax.random.split(codes, draws))
    return math.log(draws) - jax.nn.logsumexp(weights, axis=0)


def posterior(model, images) -> tuple[jax.Array, jax.Array]:
    """Mean and logarithm of the variance of the code."""
    mean, log_variance = jnp.split(at_least_float32(model.encode(images)), 2, axis=-1)
    return mean, log_variance


def draw(key, mean, log_variance) -> jax.Array:
    """A code from its distribution, differentiable in its parameters."""
    return mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)


def log_likelihood(model, images, z) -> jax.Array:
    """log p(x|z) of Bernoulli pixels."""
    logits = at_least_float32(model.decode(z.astype(images.dtype)))
    # log p = x·logit - softplus(logit), whose derivative is x - sigmoid(logit)
    return (images * logits - jax.nn.softplus(logits)).sum(axis=(1, 2, 3))
