"""What an operation keeps from its forward to its backward pass, and what a process keeps.

An operation never keeps more than autodiff of its plain definition does.
"""

import gc
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from tests import leaks
from tests.oracles import lax_conv

X, KERNEL = (2, 12, 12, 8), (3, 3, 8, 16)
OVERLAPPING = {"window_shape": 3, "strides": 2, "padding": "SAME"}


def window(operation, start, x, window_shape=2, strides=None, padding="VALID"):
    """A pool as lax has it."""
    strides = window_shape if strides is None else strides
    around = (lambda n: (1, n, n, 1))(window_shape), (1, strides, strides, 1)
    return lax.reduce_window(x, start, operation, *around, padding)


def lax_max(x, **options):
    return window(lax.max, -jnp.inf, x, **options)


def lax_sum(x, **options):
    return window(lax.add, 0.0, x, **options)


def lax_mean(x, **options):
    return lax_sum(x, **options) / lax_sum(jnp.ones_like(x), **options)


def lax_norm(x, p=2, **options):
    return lax_sum(jnp.abs(x) ** p, **options) ** (1 / p)


def plain_block(x, kernel, bias):
    a = jax.nn.relu(lax_conv(x, kernel, (1, 1), "VALID") + bias)
    return lax_max(a)


def plain_cross_entropy(logits, labels):
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]


def plain_adaptive_mean(x, size):
    rows = [x[:, 12 * p // size : -(-12 * (p + 1) // size)].mean(1) for p in range(size)]
    return jnp.stack(rows, 1)


def boundary(mode):
    def f(x, kernel):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
        return lax_conv(x, kernel, (1, 1), "VALID")

    return f


LABELS, KEEP = np.arange(6) % 4, np.random.default_rng(0).random(size=X) < 0.5


class Case(NamedTuple):
    """An operation, its plain definition, and the shapes of the operands to differentiate."""

    ours: Any
    plain: Any
    shapes: tuple[tuple[int, ...], ...]


CASES = {
    "conv": Case(jaxconv.conv, partial(lax_conv, strides=(1, 1), padding="VALID"), (X, KERNEL)),
    "conv, strided": Case(
        partial(jaxconv.conv, strides=2, padding="SAME"),
        partial(lax_conv, strides=(2, 2), padding="SAME"),
        (X, KERNEL),
    ),
    "conv, groups": Case(
        partial(jaxconv.conv, feature_group_count=8),
        partial(lax_conv, strides=(1, 1), padding="VALID", groups=8),
        (X, (3, 3, 1, 8)),
    ),
    "conv, circular": Case(
        partial(jaxconv.conv, padding=1, padding_mode="circular"), boundary("wrap"), (X, KERNEL)
    ),
    "conv, reflect": Case(
        partial(jaxconv.conv, padding=1, padding_mode="reflect"), boundary("reflect"), (X, KERNEL)
    ),
    "conv_transpose": Case(
        partial(jaxconv.conv_transpose, strides=2, padding="SAME"),
        lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME", transpose_kernel=True),
        (X, (3, 3, 16, 8)),
    ),
    "conv_block": Case(
        partial(jaxconv.conv_block, window_shape=2), plain_block, (X, KERNEL, (16,))
    ),
    "conv_general_dilated": Case(
        partial(jaxconv.conv_general_dilated, window_strides=(1, 1), padding="SAME"),
        partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME"),
        ((2, 8, 12, 12), (16, 8, 3, 3)),
    ),
    "dense": Case(jaxconv.dense, jnp.matmul, (X, (8, 5))),
    "add_bias": Case(jaxconv.add_bias, jnp.add, (X, (8,))),
    "max_pool": Case(partial(jaxconv.max_pool, window_shape=2), lax_max, (X,)),
    "max_pool, overlapping": Case(
        partial(jaxconv.max_pool, **OVERLAPPING), partial(lax_max, **OVERLAPPING), (X,)
    ),
    "max_pool, split": Case(
        partial(jaxconv.max_pool, window_shape=2, ties="split"),
        lambda x: x.reshape(2, 6, 2, 6, 2, 8).max((2, 4)),
        (X,),
    ),
    "min_pool": Case(partial(jaxconv.min_pool, window_shape=2), lambda x: -lax_max(-x), (X,)),
    "sum_pool": Case(partial(jaxconv.sum_pool, window_shape=2), lax_sum, (X,)),
    "avg_pool": Case(
        partial(jaxconv.avg_pool, window_shape=2), partial(lax_mean, window_shape=2), (X,)
    ),
    "avg_pool, padded": Case(
        partial(jaxconv.avg_pool, **OVERLAPPING, count_include_pad=False),
        partial(lax_mean, **OVERLAPPING),
        (X,),
    ),
    "lp_pool, 2": Case(partial(jaxconv.lp_pool, p=2, window_shape=2), lax_norm, (X,)),
    "lp_pool, 3": Case(
        partial(jaxconv.lp_pool, p=3, window_shape=2), partial(lax_norm, p=3), (X,)
    ),
    "global_avg_pool": Case(jaxconv.global_avg_pool, lambda x: x.mean((1, 2)), (X,)),
    "global_max_pool": Case(jaxconv.global_max_pool, lambda x: x.max((1, 2)), (X,)),
    "adaptive_avg_pool": Case(
        partial(jaxconv.adaptive_avg_pool, output_size=5),
        partial(plain_adaptive_mean, size=5),
        ((2, 12, 8),),
    ),
    "unfold": Case(
        partial(jaxconv.unfold, window_shape=3),
        lambda x: lax.conv_general_dilated_patches(
            x, (3, 3), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        (X,),
    ),
    "nearest": Case(
        partial(jaxconv.upscale, factor=2), lambda x: x.repeat(2, 1).repeat(2, 2), (X,)
    ),
    "bilinear": Case(
        partial(jaxconv.upscale, factor=2, method="bilinear"),
        lambda x: jax.image.resize(x, (2, 24, 24, 8), "bilinear"),
        (X,),
    ),
    "pixel_shuffle": Case(
        partial(jaxconv.pixel_shuffle, factor=2),
        lambda x: x.reshape(2, 12, 12, 2, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 24, 24, 2),
        (X,),
    ),
    "relu": Case(jaxconv.relu, lambda x: jnp.where(x > 0, x, 0), (X,)),
    "tanh": Case(jaxconv.tanh, lambda x: jnp.sinh(x) / jnp.cosh(x), (X,)),
    "dropout": Case(
        partial(jaxconv.dropout, keep=KEEP, rate=0.5), lambda x: jnp.where(KEEP, x / 0.5, 0), (X,)
    ),
    "softmax": Case(
        jaxconv.softmax, lambda z: jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True), ((6, 4),)
    ),
    "softmax_cross_entropy": Case(
        lambda z: jaxconv.softmax_cross_entropy(z, LABELS),
        lambda z: plain_cross_entropy(z, LABELS),
        ((6, 4),),
    ),
    "squared_error": Case(jaxconv.squared_error, lambda y, t: (y - t) ** 2, (X, X)),
}  # fmt: skip


def kept(f, *shapes) -> int:
    """The bytes that the backward pass of `f` reads: arrays of the forward pass and operands."""
    operands = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    program = jax.make_jaxpr(lambda *a: jax.tree.leaves(jax.vjp(f, *a)[1]))(*operands)
    arrays = {id(v): v.aval for v in program.jaxpr.outvars if hasattr(v, "count") or v.aval.shape}
    return sum(a.size * a.dtype.itemsize for a in arrays.values())


@pytest.mark.parametrize("name", CASES)
def test_never_more_than_autodiff_keeps(name):
    ours, plain, shapes = CASES[name]
    assert kept(ours, *shapes) <= kept(plain, *shapes)


# What each operation keeps, in bytes: operands and results have 4 bytes an element.
MAP, POOLED = 4 * 2 * 12 * 12 * 8, 2 * 6 * 6 * 8
OF_KERNEL = 4 * 3 * 3 * 8 * 16
EXACTLY = {
    "conv": MAP + OF_KERNEL,
    "conv_block": MAP + OF_KERNEL + 2 * 5 * 5 * 16,  # one byte for each pooled element
    "max_pool": POOLED,  # one byte for each result
    "max_pool, overlapping": POOLED,
    "min_pool": POOLED,
    "global_max_pool": 2 * 2 * 8,  # an int16
    "max_pool, split": MAP + 4 * POOLED,
    "relu": MAP // 4,  # a bool for each element
    "dropout": MAP // 4,
    **dict.fromkeys(("add_bias", "sum_pool", "avg_pool", "global_avg_pool", "unfold"), 0),
    **dict.fromkeys(("nearest", "bilinear", "pixel_shuffle", "adaptive_avg_pool"), 0),
}


@pytest.mark.parametrize("name", EXACTLY)
def test_exactly_this_is_kept(name):
    assert kept(CASES[name].ours, *CASES[name].shapes) == EXACTLY[name]


def live_bytes():
    gc.collect()
    return sum(a.nbytes for a in jax.live_arrays())


def train_step(kernel, x):
    def loss(kernel):
        y = jaxconv.max_pool(jaxconv.relu(jaxconv.conv(x, kernel)), 2)
        return jaxconv.accelerate(lambda y: lax_max(y).sum())(y)

    return kernel - 1e-6 * jax.grad(loss)(kernel)


def test_steps_leave_nothing_behind(normal):
    """Eager steps: each makes arrays, closures and programs of its own."""
    kernel, x = normal((3, 3, 2, 4), "float32"), normal((1, 12, 12, 2), "float32")
    for _ in range(3):
        kernel = train_step(kernel, x)
    before = live_bytes()
    for _ in range(20):
        kernel = train_step(kernel, x)
    assert live_bytes() == before


def test_shapes_leave_nothing_behind():
    """When the caches are emptied, no array and no program of a shape is left."""
    drawn = leaks.shapes()
    leaks.run(*next(drawn), compiled=True)
    before = leaks.left()
    leaks.run(*next(drawn), compiled=True)
    after = leaks.left()
    assert (after["arrays"], after["programs"]) == (before["arrays"], before["programs"])


def test_every_cache_is_bounded(normal):
    train_step(normal((3, 3, 2, 4), "float32"), normal((1, 12, 12, 2), "float32"))
    found = {name: cache.cache_parameters()["maxsize"] for name, cache in leaks.caches()}
    assert {"jaxconv.forms._operation._compiled", "jaxconv._accelerate._choice._chosen"} <= {*found}
    assert all(size is not None and size <= 4096 for size in found.values()), found
