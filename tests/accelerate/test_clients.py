"""Modules of Flax, Equinox, Haiku and Keras as they are, accelerated before and after grad.

Covers jaxconv/_accelerate/.
"""

import importlib.util
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._accelerate import accelerate
from tests.accelerate.primitives import said

# A Keras that this process imports computes with JAX.
os.environ.setdefault("KERAS_BACKEND", "jax")

IMAGES = np.random.default_rng(0).normal(size=(2, 10, 9, 4)).astype(np.float32)
SIGNALS = IMAGES[:, :, 0]
VOLUMES = np.random.default_rng(1).normal(size=(2, 5, 6, 5, 2)).astype(np.float32)


def nnx_cases():
    from flax import nnx

    def of(module, x):
        definition, params, rest = nnx.split(module, nnx.Param, ...)

        def f(params, x):
            return nnx.merge(definition, params, rest, copy=True)(x)

        return f, params, x

    rngs = nnx.Rngs(0)
    conv = partial(nnx.Conv, rngs=rngs)

    class Pools(nnx.Module):
        def __call__(self, x):
            pools = nnx.max_pool, nnx.avg_pool, nnx.min_pool
            return sum(pool(x, (3, 3), (2, 2), "SAME") for pool in pools)

    class Scanned(nnx.Module):
        def __init__(self):
            @nnx.split_rngs(splits=3)
            @nnx.vmap(in_axes=(0,), out_axes=0)
            def make(rngs):
                return nnx.Conv(4, 4, (3, 3), rngs=rngs)

            self.layers = make(nnx.Rngs(0))

        def __call__(self, x):
            @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            @nnx.remat
            def step(x, layer):
                return jnp.tanh(layer(x))

            return step(x, self.layers)

    yield "conv", *of(conv(4, 6, (3, 3), strides=2), IMAGES)
    yield "depthwise", *of(conv(4, 8, (3, 3), feature_group_count=4), IMAGES)
    yield "transposed", *of(nnx.ConvTranspose(4, 3, (3, 3), strides=(2, 2), rngs=rngs), IMAGES)
    yield "1-D", *of(conv(4, 6, (3,), padding="CAUSAL", kernel_dilation=2), SIGNALS)
    yield "3-D", *of(conv(2, 3, (2, 3, 2), padding="VALID"), VOLUMES)
    yield "circular", *of(conv(4, 6, (3, 3), padding="CIRCULAR"), IMAGES)
    layers = conv(4, 6, (3, 3)), nnx.BatchNorm(6, rngs=rngs), nnx.relu, conv(6, 2, (1, 1))
    yield "batch norm", *of(nnx.Sequential(*layers), IMAGES)
    yield "pools", *of(nnx.Sequential(conv(4, 6, (3, 3)), Pools()), IMAGES)
    yield "scan of remat", *of(Scanned(), IMAGES)


def linen_cases():
    from flax import linen as nn

    def of(module, x):
        variables = dict(jax.jit(module.init)(jax.random.key(0), x))
        params = variables.pop("params")

        def f(params, x):
            y, _ = module.apply({"params": params, **variables}, x, mutable=["batch_stats"])
            return y

        return f, params, x

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            x = nn.Conv(4, (3, 3), feature_group_count=2)(x)
            return nn.relu(nn.BatchNorm(use_running_average=False)(x)), None

    class Blocks(nn.Module):
        @nn.compact
        def __call__(self, x):
            scanned = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True},
                length=3,
            )
            return scanned()(x)[0]

    class Pools(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.ConvTranspose(4, (3, 3), strides=(2, 2))(x)
            x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
            return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)

    yield "conv", *of(nn.Conv(6, (5, 3), (2, 1), padding=[(1, 2), (0, 1)]), IMAGES)
    yield "1-D", *of(nn.Conv(6, 3, kernel_dilation=2), SIGNALS)
    yield "3-D", *of(nn.Conv(3, (2, 2, 2), 2), VOLUMES)
    yield "local", *of(nn.ConvLocal(3, (3, 3)), IMAGES)
    yield "pools", *of(Pools(), IMAGES)
    yield "scan of remat", *of(Blocks(), IMAGES)


def equinox_cases():
    import equinox as eqx

    key = jax.random.key(0)

    def of(module, x):
        params, static = eqx.partition(module, eqx.is_inexact_array)

        def f(params, x):
            return jax.vmap(eqx.combine(params, static))(x)

        return f, params, np.moveaxis(x, -1, 1)

    nn = eqx.nn
    yield "conv", *of(nn.Conv2d(4, 6, 3, stride=2, padding=1, key=key), IMAGES)
    yield "depthwise", *of(nn.Conv2d(4, 8, 3, groups=4, key=key), IMAGES)
    yield "1-D", *of(nn.Conv1d(4, 6, 3, dilation=2, key=key), SIGNALS)
    yield "3-D", *of(nn.Conv3d(2, 3, 2, key=key), VOLUMES)
    yield "transposed", *of(nn.ConvTranspose2d(4, 3, 3, stride=2, key=key), IMAGES)
    pools = nn.MaxPool2d(3, 2), nn.AvgPool2d(2, 1), nn.Lambda(jnp.tanh)
    yield "pools", *of(nn.Sequential([nn.Conv2d(4, 6, 3, key=key), *pools]), IMAGES)


def haiku_cases():
    import haiku as hk

    def of(make, x):
        net = hk.transform_with_state(lambda x: make()(x))
        params, state = jax.jit(net.init)(jax.random.key(0), x)

        def f(params, x):
            return net.apply(params, state, None, x)[0]

        return f, params, x

    def blocks():
        def one(x):
            return jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(4, 3)(x), True))

        return lambda x: hk.remat(one)(x)

    def stack():
        return lambda x: hk.layer_stack(3)(lambda x: jnp.tanh(hk.Conv2D(4, 3)(x)))(x)

    def pools():
        return lambda x: hk.max_pool(hk.avg_pool(hk.Conv2D(4, 3)(x), 3, 1, "SAME"), 2, 2, "VALID")

    yield "conv", *of(lambda: hk.Conv2D(6, 3, 2), IMAGES)
    yield "depthwise", *of(lambda: hk.DepthwiseConv2D(2, 3), IMAGES)
    yield "separable", *of(lambda: hk.SeparableDepthwiseConv2D(2, 3), IMAGES)
    yield "transposed", *of(lambda: hk.Conv2DTranspose(3, 3, 2), IMAGES)
    yield "1-D", *of(lambda: hk.Conv1D(6, 3, rate=2), SIGNALS)
    yield "3-D", *of(lambda: hk.Conv3D(3, 2), VOLUMES)
    yield "pools", *of(pools, IMAGES)
    yield "remat of batch norm", *of(blocks, IMAGES)
    yield "scan", *of(stack, IMAGES)


def keras_cases():
    import keras

    def of(x, *layers):
        model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
        fixed = [v.value for v in model.non_trainable_variables]

        def f(params, x):
            return model.stateless_call(params, fixed, x, training=True)[0]

        return f, [v.value for v in model.trainable_variables], x

    layers = keras.layers
    yield "conv", *of(IMAGES, layers.Conv2D(6, 3, strides=2, padding="same"))
    yield "depthwise", *of(IMAGES, layers.DepthwiseConv2D(3, depth_multiplier=2))
    yield "separable", *of(IMAGES, layers.SeparableConv2D(6, 3))
    yield "transposed", *of(IMAGES, layers.Conv2DTranspose(3, 3, 2, padding="same"))
    yield "1-D", *of(SIGNALS, layers.Conv1D(6, 3, padding="causal", dilation_rate=2))
    yield "3-D", *of(VOLUMES, layers.Conv3D(3, 2))
    pools = layers.MaxPooling2D(3, 2), layers.AveragePooling2D(2, 1, padding="same")
    yield "pools", *of(IMAGES, layers.Conv2D(6, 3), *pools)
    yield "batch norm", *of(IMAGES, layers.Conv2D(6, 3), layers.BatchNormalization())


PACKAGES = {
    "flax.nnx": nnx_cases,
    "flax.linen": linen_cases,
    "equinox": equinox_cases,
    "haiku": haiku_cases,
    "keras": keras_cases,
}


# A package's own warnings about other versions of JAX are not about this library.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "chosen", [("pools",), pytest.param(None, marks=pytest.mark.exhaustive)], ids=["pools", "all"]
)
def test_modules_give_the_same_values_and_gradients(package, chosen):
    name = package.partition(".")[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    losses, operands = {}, {}
    for case, f, params, x in PACKAGES[package]():
        if chosen is not None and case not in chosen:
            continue

        def loss(params, x, f=f):
            return jnp.mean(jnp.sin(f(params, x)))

        losses[case], operands[case] = loss, (params, x)
        assert any(answer.startswith("jaxconv.") for answer in said(both(loss), params, x)), case

    def gradients(of):  # one program for all, which compiles faster than many
        return {case: both(of(loss))(*operands[case]) for case, loss in losses.items()}

    expected = jax.jit(lambda: gradients(lambda loss: loss))()
    before = jax.jit(lambda: gradients(accelerate))()
    after = jax.jit(accelerate(lambda: gradients(lambda loss: loss)))()
    for case in losses:
        assert_close(before[case], expected[case], f"{package} {case}, before")
        assert_close(after[case], expected[case], f"{package} {case}, after")


def both(loss):
    return jax.value_and_grad(loss, argnums=(0, 1))


def assert_close(actual, expected, name):
    """Two pytrees of float32, whose sums were added up in other orders, of at most 2000 terms."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected), name
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        eps, scale = np.finfo(np.float32).eps, max(np.abs(b).max(), 1 / IMAGES.size)
        np.testing.assert_allclose(a, b, rtol=0, atol=2000 * eps * scale, err_msg=name)
