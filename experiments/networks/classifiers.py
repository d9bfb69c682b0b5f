"""Five convolutional classifiers of images `(n, h, w, c)`, and their loss.

Each function builds a network from `rngs`, the image shape and the number of classes. `nn` and
`relu` are the layers: those of jaxconv, or those of `plain`. The standard and the modified network
are those of G. Gwardys, 2016; their convolutions flip the kernels, which is Lasagne's default.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv.nn as ours
from jaxconv import relu, softmax_cross_entropy

from ..command_line import UserError
from . import plain
from .layers import Layers, Standardise


def pooled_by(window):
    return {"flip_kernel": True, "window_shape": (window, window)}


def trunk(rngs, nn, relu, shape, features=32, hidden=256):
    return Layers(
        conv1=nn.ConvBlock(shape[-1], features, (5, 5), **pooled_by(2), rngs=rngs),  # 28->24->12
        conv2=nn.ConvBlock(features, features, (5, 5), **pooled_by(2), rngs=rngs),  # 12 -> 8 -> 4
        flat=nn.Flatten(),
        dropout1=nn.Dropout(0.5, rngs=rngs),
        hidden=nn.Linear(flat(shape, features, (5, 2), (5, 2)), hidden, rngs=rngs),
        relu=relu,
    )


def standard(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10, features=32, hidden=256):
    return Layers(
        trunk=trunk(rngs, nn, relu, shape, features, hidden),
        dropout2=nn.Dropout(0.5, rngs=rngs),
        out=nn.Linear(hidden, classes, rngs=rngs),
    )


def modified(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10, features=32, hidden=256):
    branch = Layers(
        # 28 -> 19 -> 3: the last 4 rows and columns fill no window
        wide=nn.ConvBlock(shape[-1], features, (10, 10), **pooled_by(5), rngs=rngs),
        wide_flat=nn.Flatten(),
    )
    return Layers(
        joined=nn.Concat(trunk(rngs, nn, relu, shape, features, hidden), branch),
        dropout2=nn.Dropout(0.5, rngs=rngs),
        out=nn.Linear(hidden + flat(shape, features, (10, 5)), classes, rngs=rngs),
    )


def small(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10):
    """A network for short runs: half of the standard one's operations, and no dropout."""
    return Layers(
        conv1=nn.ConvBlock(shape[-1], 16, (5, 5), window_shape=(2, 2), rngs=rngs),  # 28 -> 24 -> 12
        conv2=nn.ConvBlock(16, 48, (3, 3), window_shape=(2, 2), rngs=rngs),  # 12 -> 10 -> 5
        flat=nn.Flatten(),
        hidden=nn.Linear(flat(shape, 48, (5, 2), (3, 2)), 96, rngs=rngs),
        relu=relu,
        out=nn.Linear(96, classes, rngs=rngs),
    )


def large(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10, steps=15_000):
    """A network for high accuracy: four convolutions with batch normalisation."""

    normalised = partial(normalisation, steps=steps, rngs=rngs)
    return Layers(
        conv1=nn.ConvBlock(shape[-1], 32, (5, 5), window_shape=(2, 2), rngs=rngs),  # 28 -> 24 -> 12
        norm1=normalised(32),
        conv2=nn.Conv(32, 64, (3, 3), rngs=rngs),  # -> 10
        norm2=normalised(64),
        relu2=relu,
        conv3=nn.Conv(64, 64, (3, 3), rngs=rngs),  # -> 8
        norm3=normalised(64),
        relu3=relu,
        conv4=nn.ConvBlock(64, 128, (3, 3), window_shape=(2, 2), rngs=rngs),  # -> 6 -> 3
        norm4=normalised(128),
        flat=nn.Flatten(),
        dropout1=nn.Dropout(0.3, rngs=rngs),
        hidden=nn.Linear(flat(shape, 128, (5, 2), (3, 1), (3, 1), (3, 2)), 128, rngs=rngs),
        relu=relu,
        dropout2=nn.Dropout(0.3, rngs=rngs),
        out=nn.Linear(128, classes, rngs=rngs),
    )


def photo(rngs, nn=ours, relu=relu, shape=(64, 64, 3), classes=10, steps=15_000):
    """A network for images of any size, also for few of them: its end is a mean over all pixels.

    Two to six convolutions, each with a max pool if there are pixels left, lead to maps of about
    4×4. The size of the images decides the number of layers, and nothing else.
    """
    normalised = partial(normalisation, steps=steps, rngs=rngs)
    side, c, layers = min(shape[:2]), shape[-1], {}
    for index in range(min(6, max(2, round(math.log2(side / 4))))):
        features = min(16 * 2**index, 128)
        layers[f"conv{index + 1}"] = nn.Conv(c, features, (3, 3), padding="SAME", rngs=rngs)
        layers[f"norm{index + 1}"] = normalised(features)
        layers[f"relu{index + 1}"] = relu
        if side >= 4:
            layers[f"pool{index + 1}"] = nn.MaxPool((2, 2))
        side, c = side // 2, features
    return Layers(
        **layers,
        mean=nn.GlobalAvgPool(),
        dropout=nn.Dropout(0.2, rngs=rngs),
        out=nn.Linear(c, classes, rngs=rngs),
    )


def normalisation(features, *, steps, rngs):
    """Batch normalisation whose running means and variances follow the weights within a run.

    Args:
      features: The number of channels.
      steps: The number of training steps: 30 lengths of the average fit into them, of 2 to 100
        steps each.
      rngs: Random streams.
    """
    return nnx.BatchNorm(features, momentum=min(0.99, max(0.5, 1 - 30 / steps)), rngs=rngs)


def flat(shape, features, *layers):
    """The number of values of an image after layers of `(window, pool)` without padding."""
    sides = shape[:-1]
    for window, pool in layers:
        sides = [(side - window + 1) // pool for side in sides]
    if min(sides) < 1:
        least = 1
        for window, pool in reversed(layers):
            least = least * pool + window - 1
        h, w, _ = shape
        raise UserError(
            f"images of {h}×{w} pixels are too small for the network's windows, which need "
            f"{least}×{least}: --image-size {max(h, least)} {max(w, least)} enlarges them."
        )
    return features * math.prod(sides)


NETWORKS: dict[str, Callable[..., nnx.Module]] = {
    "standard": standard,
    "modified": modified,
    "small": small,
    "large": large,
    "photo": photo,
}


def build(
    name: str,
    *,
    shape: tuple[int, int, int],
    classes: int,
    gradients: str = "jaxconv",
    steps: int = 15_000,
    seed: int = 0,
    pixels: Sequence[Sequence[float]] | None = None,
) -> nnx.Module:
    """An untrained network.

    Args:
      name: One of `NETWORKS`.
      shape: The image shape `(h, w, c)`.
      classes: The number of classes.
      gradients: "jaxconv", or "autodiff" for the layers of `plain`.
      steps: The number of training steps.
      seed: The seed of the initial parameters.
      pixels: The mean and the standard deviation of each channel, with which images are
        standardised; None leaves them in [0, 1].
    """
    options = {} if gradients == "jaxconv" else {"nn": plain, "relu": plain.relu}
    if name in ("large", "photo"):
        options["steps"] = steps
    network = NETWORKS[name](nnx.Rngs(seed), shape=shape, classes=classes, **options)
    return network if pixels is None else Layers(pixels=Standardise(*pixels), network=network)


def score(model, images, labels, cross_entropy=softmax_cross_entropy, weights=None):
    """The loss and the accuracy of each example.

    Args:
      weights: By which the loss of the examples of each class is multiplied.
    """
    logits = at_least_float32(model(images))
    correct = jnp.argmax(logits, axis=-1) == labels
    loss = cross_entropy(logits, labels)
    loss = loss if weights is None else loss * jnp.asarray(weights, loss.dtype)[labels]
    return {"loss": loss, "accuracy": correct.astype(jnp.float32)}


def probabilities(model, images: jax.Array) -> jax.Array:
    """The probability of each class `(n, classes)`, for images in [0, 1]."""
    return jax.nn.softmax(at_least_float32(model(images)))


def at_least_float32(array: jax.Array) -> jax.Array:
    """The array in float32 if it is in half precision: sums, as in a loss, need the width."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
