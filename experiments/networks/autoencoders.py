"""The convolutional autoencoder of images, and its losses.

Plain, denoising and variational autoencoders are one network under three losses.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv import nn, relu, squared_error, tanh

from ..command_line import UserError
from .classifiers import at_least_float32
from .layers import Layers, Unflatten

Shape = tuple[int, int, int]


class Autoencoder(nnx.Module):
    """28×28×1 -> 4×4×32 = 512 -> code -> 512 = 4×4×32 -> 28×28×1, and likewise for other sizes.

    The decoder's transposed convolutions are the adjoints of the encoder's convolutions.

    Args:
      code_size: The width of the innermost dense layer.
      dropout: The dropout rate before the first dense layer of encoder and decoder.
      tied: Whether the decoder shares the encoder's kernels.
      brightness: The mean pixel of the training images, at which the output bias starts. The last
        relu then starts in its linear part at every pixel, whatever the initial kernels are.
      rngs: Random streams `params`, `dropout` and `noise`.
      shape: `(h, w, c)` of the images. Both sides must be multiples of 4, at least 16: two pools
        by 2 discard remainders that the decoder could not restore.
      variational: Whether the encoder returns mean and log variance of a normal code, and the
        decoder logits. Otherwise the code ends in tanh and the reconstruction in relu.
      hidden: The width of one more dense layer on each side of the code; 0 means none, as in the
        network of G. Gwardys, 2016.
      features: The number of feature maps of the convolutions.
      output: The last activation function, unless the model is variational: "relu", which may die
        and then reconstructs every image as black, or "sigmoid", which cannot.
      nn: The layers: those of jaxconv, or those of `plain`, which has tied decoders only.
      relu: The activation function of these layers.
      tanh: The activation function of these layers.

    Raises:
      UserError: A side of the images does not fit.
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
        features: int = 32,
        output: str = "relu",
        nn=nn,
        relu=relu,
        tanh=tanh,
    ):
        h, w, c = shape
        if h % 4 or w % 4 or min(h, w) < 16:
            raise UserError(
                f"the autoencoder's images must have sides that are multiples of 4, at least 16; "
                f"these are {h}×{w}. --image-size {_fitting(h)} {_fitting(w)} resizes them."
            )
        last = {"relu": relu, "sigmoid": jax.nn.sigmoid}[output]
        inner = (h - 12) // 4, (w - 12) // 4, features  # (28 - 4)/2 = 12, (12 - 4)/2 = 4
        options = {"flip_kernel": True, "rngs": rngs}  # true convolution, Lasagne's default
        pooled = {"activation": "tanh", "window_shape": (2, 2)}
        conv1 = nn.ConvBlock(c, features, (5, 5), **pooled, **options)
        conv2 = nn.ConvBlock(features, features, (5, 5), **pooled, **options)
        # If all images are black or all are white, start half a grey level away from that.
        brightness = min(max(brightness, 1 / 510), 1 - 1 / 510)
        log_odds = math.log(brightness / (1 - brightness))
        bias_init = nnx.initializers.constant(
            log_odds if variational or output == "sigmoid" else brightness
        )
        if tied:
            deconv2 = nn.ConvTranspose.tied(conv2)
            deconv1 = nn.ConvTranspose.tied(conv1, bias_init=bias_init)
        else:
            deconv2 = nn.ConvTranspose(features, features, (5, 5), **options)
            deconv1 = nn.ConvTranspose(features, c, (5, 5), bias_init=bias_init, **options)

        def dense(name: str, features_in: int, features: int):
            if not hidden:
                return {name: nn.Linear(features_in, features, rngs=rngs)}
            return {
                f"before_{name}": nn.Linear(features_in, hidden, rngs=rngs),
                f"before_{name}_relu": relu,
                name: nn.Linear(hidden, features, rngs=rngs),
            }

        self.encode = Layers(
            conv1=conv1,  # 28 -> 24 -> 12
            conv2=conv2,  # 12 -> 8 -> 4
            flat=nn.Flatten(),
            dropout1=nn.Dropout(dropout, rngs=rngs),
            **dense("code", math.prod(inner), code_size * (2 if variational else 1)),
            **({} if variational else {"code_tanh": tanh}),
        )
        self.decode = Layers(
            dropout2=nn.Dropout(dropout, rngs=rngs),
            **dense("wide", code_size, math.prod(inner)),
            wide_tanh=tanh,
            map=Unflatten(inner),
            up2=nn.Upscale((2, 2)),  # 4 -> 8
            deconv2=deconv2,  # -> 12
            deconv2_relu=relu,
            up1=nn.Upscale((2, 2)),  # -> 24
            deconv1=deconv1,  # -> 28
            **({} if variational else {f"deconv1_{output}": last}),
        )
        self.code_size, self.is_variational = code_size, variational
        self.noise = rngs.noise.fork()
        self.deterministic = False  # set by train() and eval()

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.decode(self.encode(images))

    def key(self) -> jax.Array:
        """A random key: a new one in each training step, the same one in every evaluation."""
        return jax.random.key(0) if self.deterministic else self.noise()


def _fitting(side: int) -> int:
    return max(16, 4 * round(side / 4))


def build(
    name: str,
    options: Mapping[str, Any],
    *,
    shape: Shape,
    brightness: float = 0.5,
    seed: int = 0,
) -> Autoencoder:
    """An untrained autoencoder.

    Args:
      name: "tied" or "untied".
      options: The options `code_size`, `hidden`, `dropout`, `kind` and `output` of the experiment.
      shape: The image shape `(h, w, c)`.
      brightness: The mean pixel of the training images.
      seed: The seed of the initial parameters.
    """
    return Autoencoder(
        code_size=options["code_size"],
        hidden=options["hidden"],
        dropout=options["dropout"],
        variational=options["kind"] == "variational",
        output=options.get("output", "relu"),  # which earlier runs did not record
        tied=name == "tied",
        brightness=brightness,
        rngs=nnx.Rngs(seed),
        shape=shape,
    )


@nnx.jit
def reconstruct(model: Autoencoder, images: jax.Array) -> jax.Array:
    """The reconstruction of images in [0, 1]; a variational model decodes the mean of the code."""
    if model.is_variational:
        mean, _ = posterior(model, images)
        return jax.nn.sigmoid(model.decode(mean.astype(images.dtype)))
    return model(images)


# ---- plain and denoising ---------------------------------------------------------------------


def score(model, images, labels, squared_error=squared_error):
    """The squared error of each image: the sum over its pixels, which is the loss, and the mean."""
    return _errors(model(images), images, squared_error)


def _errors(reconstructed, images, squared_error=squared_error):
    errors = squared_error(at_least_float32(reconstructed), at_least_float32(images))
    return {"loss": errors.sum(axis=(1, 2, 3)), "mse": errors.mean(axis=(1, 2, 3))}


def denoising_score(model, images, labels, *, corrupt):
    """The error of the reconstruction of corrupted images, compared with the clean ones."""
    return _errors(model(corrupt(model.key(), images)), images)


def gaussian(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Add normal noise of standard deviation `level`."""
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def masking(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Set a fraction `level` of the pixels to 0."""
    return jnp.where(jax.random.bernoulli(key, level, images.shape), 0, images)


def salt_and_pepper(key: jax.Array, images: jax.Array, *, level: float) -> jax.Array:
    """Set a fraction `level` of the pixels to 0 or 1 with equal probability."""
    hit, white = jax.random.split(key)
    extreme = jax.random.bernoulli(white, 0.5, images.shape).astype(images.dtype)
    return jnp.where(jax.random.bernoulli(hit, level, images.shape), extreme, images)


NOISES: dict[str, Callable[..., jax.Array]] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}


# ---- variational -----------------------------------------------------------------------------


def variational_score(model, images, labels, *, beta=1.0, binarise=False):
    """The negative evidence lower bound of each image in nats, its divergence, and the loss.

        -log p(x) <= E_q(z|x)[-log p(x|z)] + KL(q(z|x) || p(z))

    The pixels are Bernoulli variables, p(z) is standard normal, and the expectation is estimated
    with one draw of z. Grey pixels count as probabilities.

    Args:
      beta: The weight of the divergence in the loss.
      binarise: Whether to draw black or white pixels with these probabilities.

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
    """A tighter bound on -log p(x) in nats, from `draws` importance weights for each image.

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
        # The normalising constants of the two normal densities cancel.
        prior = -0.5 * (z**2).sum(axis=-1)
        centred = (z - mean) ** 2 * jnp.exp(-log_variance)
        proposal = -0.5 * (centred + log_variance).sum(axis=-1)
        return log_likelihood(model, images, z) + prior - proposal

    weights = jax.lax.map(log_weight, jax.random.split(codes, draws))
    return math.log(draws) - jax.nn.logsumexp(weights, axis=0)


def posterior(model, images) -> tuple[jax.Array, jax.Array]:
    """The mean and the log variance of the code, each `(n, code_size)`."""
    mean, log_variance = jnp.split(at_least_float32(model.encode(images)), 2, axis=-1)
    return mean, log_variance


def draw(key, mean, log_variance) -> jax.Array:
    """A random code, differentiable in mean and log variance."""
    return mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)


def log_likelihood(model, images, z) -> jax.Array:
    """log p(x|z) of each image with Bernoulli pixels."""
    logits = at_least_float32(model.decode(z.astype(images.dtype)))
    # log p = x·logit - softplus(logit), whose derivative is x - sigmoid(logit)
    return (images * logits - jax.nn.softplus(logits)).sum(axis=(1, 2, 3))


def score_of(options: Mapping[str, Any]):
    """The score that an autoencoder is trained and evaluated with.

    Args:
      options: The options `kind`, `noise`, `noise_level`, `beta` and `binarise` of the experiment.
    """
    match options["kind"]:
        case "denoising":
            return partial(denoising_score, corrupt=noise_of(options))
        case "variational":
            return partial(variational_score, beta=options["beta"], binarise=options["binarise"])
    return score


def noise_of(options: Mapping[str, Any]):
    """The noise of `--noise` and `--noise-level`, a function of a random key and images."""
    return partial(NOISES[options["noise"]], level=options["noise_level"])
