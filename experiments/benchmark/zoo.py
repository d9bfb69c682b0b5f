"""Public models, as their packages have them, with a loss to differentiate.

Each function imports its package, which `pip install "jaxconv[models]"` installs. No weights are
loaded: the time of a step does not depend on them.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .cases import MODELS

NUM_CLASSES = 10


class Model(NamedTuple):
    """A model to train.

    Attributes:
      loss: From parameters, images and labels to a number.
      params: The parameters, a pytree of arrays.
      images: A batch of images, channels last.
      labels: Their labels.
    """

    loss: Callable[..., jax.Array]
    params: Any
    images: jax.Array
    labels: jax.Array


def batch(size: int, pixels: int) -> tuple[jax.Array, jax.Array]:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(size, pixels, pixels, 3)).astype(np.float32)
    return jnp.asarray(images), jnp.asarray(rng.integers(0, NUM_CLASSES, size))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def keras_application(name: str, pixels: int, size: int) -> Model:
    """A model of `keras.applications` in training mode."""
    import keras

    make = getattr(keras.applications, name)
    model = make(
        weights=None,
        input_shape=(pixels, pixels, 3),
        classes=NUM_CLASSES,
        classifier_activation=None,
    )
    images, labels = batch(size, pixels)
    fixed = [variable.value for variable in model.non_trainable_variables]

    def loss(params, images, labels):
        logits, _ = model.stateless_call(params, fixed, images, training=True)
        return cross_entropy(logits, labels)

    params = [variable.value for variable in model.trainable_variables]
    return Model(loss, params, images, labels)


def haiku_net(name: str, pixels: int, size: int) -> Model:
    """A model of `haiku.nets` in training mode."""
    import haiku as hk

    images, labels = batch(size, pixels)
    net = hk.transform_with_state(
        lambda x: getattr(hk.nets, name)(num_classes=NUM_CLASSES)(x, True)
    )
    params, state = jax.jit(net.init)(jax.random.key(0), images)

    def loss(params, images, labels):
        logits, _ = net.apply(params, state, None, images)
        return cross_entropy(logits, labels)

    return Model(loss, params, images, labels)


def flaxmodels_net(name: str, pixels: int, size: int) -> Model:
    """A model of `flaxmodels`, which are Linen modules, in training mode."""
    import flaxmodels

    images, labels = batch(size, pixels)
    options = {"output": "logits", "pretrained": None, "num_classes": NUM_CLASSES}
    net = getattr(flaxmodels, name)(normalize=False, **options)
    key = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = dict(jax.jit(net.init)(key, images))
    params = variables.pop("params")

    def loss(params, images, labels):
        keys = {"dropout": jax.random.key(1)}
        everything = {"params": params, **variables}
        mutable = list(variables)
        logits, _ = net.apply(everything, images, train=True, rngs=keys, mutable=mutable)
        return cross_entropy(logits, labels)

    return Model(loss, params, images, labels)


def equimo_net(name: str, pixels: int, size: int) -> Model:
    """A model of `equimo`, which are Equinox modules for one image, under vmap."""
    import equinox as eqx
    from equimo.vision import models

    images, labels = batch(size, pixels)
    make = getattr(models, name)
    net = make(key=jax.random.key(0), num_classes=NUM_CLASSES, inference_mode=False)
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def loss(params, images, labels):
        model = eqx.combine(params, static)
        keys = jax.random.split(jax.random.key(1), len(images))
        channels_first = jnp.moveaxis(images, -1, 1)
        logits = jax.vmap(lambda image, key: model(image, key=key))(channels_first, keys)
        return cross_entropy(logits, labels)

    return Model(loss, params, images, labels)


def nnx_unet(pixels: int, size: int) -> Model:
    """A U-Net of Flax NNX modules: two levels, batch normalisation, transposed convolutions."""
    from flax import nnx

    rngs = nnx.Rngs(0)

    def block(c_in, c_out):
        layers = []
        for c in (c_in, c_out):
            layers += [nnx.Conv(c, c_out, (3, 3), rngs=rngs), nnx.BatchNorm(c_out, rngs=rngs)]
            layers += [nnx.relu]
        return nnx.Sequential(*layers)

    class UNet(nnx.Module):
        def __init__(self):
            self.down = nnx.List([block(3, 32), block(32, 64)])
            self.middle = block(64, 128)
            up = partial(nnx.ConvTranspose, kernel_size=(2, 2), strides=(2, 2), rngs=rngs)
            self.up = nnx.List([up(128, 64), up(64, 32)])
            self.merge = nnx.List([block(128, 64), block(64, 32)])
            self.head = nnx.Conv(32, NUM_CLASSES, (1, 1), rngs=rngs)

        def __call__(self, x):
            skips = []
            for down in self.down:
                skips.append(down(x))
                x = nnx.max_pool(skips[-1], (2, 2), (2, 2))
            x = self.middle(x)
            for up, merge in zip(self.up, self.merge, strict=True):
                x = merge(jnp.concatenate([skips.pop(), up(x)], -1))
            return self.head(x)

    images, labels = batch(size, pixels)
    definition, params, rest = nnx.split(UNet(), nnx.Param, ...)

    def loss(params, images, labels):
        logits = nnx.merge(definition, params, rest, copy=True)(images)
        of_pixels = jnp.broadcast_to(labels[:, None, None], logits.shape[:-1])
        return cross_entropy(logits, of_pixels)

    return Model(loss, params, images, labels)


# How each of `cases.MODELS` is made.
MAKERS: Mapping[str, Callable[[], Model]] = {
    "efficientnet-b0": partial(keras_application, "EfficientNetB0", 64, 8),
    "mobilenet-v2": partial(keras_application, "MobileNetV2", 64, 8),
    "resnet50": partial(keras_application, "ResNet50", 64, 4),
    "densenet121": partial(keras_application, "DenseNet121", 64, 4),
    "convnext-tiny": partial(keras_application, "ConvNeXtTiny", 64, 4),
    "xception": partial(keras_application, "Xception", 96, 2),
    "nasnet-mobile": partial(keras_application, "NASNetMobile", 64, 4),
    "inception-v3": partial(keras_application, "InceptionV3", 96, 2),
    "haiku-resnet18": partial(haiku_net, "ResNet18", 64, 8),
    "haiku-mobilenet-v1": partial(haiku_net, "MobileNetV1", 64, 8),
    "linen-resnet18": partial(flaxmodels_net, "ResNet18", 64, 8),
    "linen-resnet34": partial(flaxmodels_net, "ResNet34", 64, 8),
    "nnx-unet": partial(nnx_unet, 64, 4),
    "equinox-convnext-atto": partial(equimo_net, "convnext_atto", 64, 8),
    "equinox-mobilenet-v3": partial(equimo_net, "mobilenetv3_small", 64, 8),
}


def load(name: str) -> Model:
    """Make a model.

    Raises:
      ModuleNotFoundError: Its package is not installed.
    """
    os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it when it is imported
    importlib.import_module(MODELS[name])
    return MAKERS[name]()
