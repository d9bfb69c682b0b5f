"""The verifier on random functions: right rules pass, wrong ones fail.

Covers jaxconv/verify/_check.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import jaxconv
from jaxconv import verify

from .running import fuzzed

SHAPE = (2, 4, 3, 2)

# Functions of a map that return a map of the same shape, with smooth or piecewise smooth values.
STEPS = {
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "exp": lambda x: jnp.exp(-(x**2)),
    "scale": lambda x: 1.7 * x,
    "shift": lambda x: x + 0.3,
    "square": lambda x: x * x / 2,
    "product": lambda x: x * jnp.sin(x[::-1]),
    "softplus": jax.nn.softplus,
    "roll": lambda x: jnp.roll(x, 1, 1),
    "flip": lambda x: x[:, ::-1],
    "cumsum": lambda x: jnp.cumsum(x, 2) / 3,
    "matmul": lambda x: x @ jnp.array([[0.5, -1.0], [0.2, 0.7]], x.dtype),
    "mean": lambda x: x - x.mean((1, 2), keepdims=True),
    "norm": lambda x: x / jnp.sqrt(1 + (x**2).sum(-1, keepdims=True)),
    "conv": lambda x: jaxconv.conv(x, _kernel(x.dtype), padding="SAME"),
    "lax conv": lambda x: jax.lax.conv_general_dilated(
        x, _kernel(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "avg_pool": lambda x: jaxconv.avg_pool(x, 2, 1, "SAME"),
    "max_pool": lambda x: jaxconv.max_pool(x, 2, 1, "SAME"),
    "upscale": lambda x: jaxconv.sum_pool(jaxconv.upscale(x, 2, "bilinear"), 2) / 4,
    "scan": lambda x: jax.lax.scan(lambda c, r: (jnp.tanh(c + r), c * r), x[0], x)[1],
    "cond": lambda x: jax.lax.cond(x[0, 0, 0, 0] > 0, jnp.sin, jnp.cos, x),
    "where": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "logsumexp": lambda x: x - jax.nn.logsumexp(x, -1, keepdims=True),
}


def _kernel(dtype):
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 2)) / 3, dtype)


# What is done to a right cotangent. Each changes it by far more than rounding.
SLIPS = {
    "half": lambda x_bar: x_bar / 2,
    "sign": jnp.negative,
    "shifted": lambda x_bar: x_bar + 0.1 * (1 + jnp.abs(x_bar).max()),
    "one element": lambda x_bar: x_bar.at[1, 2, 1, 0].add(0.5 * (1 + jnp.abs(x_bar).max())),
    "flipped": lambda x_bar: x_bar[::-1, ::-1],
    "channels": lambda x_bar: x_bar[..., ::-1],
    "mean": lambda x_bar: x_bar.mean() + 0 * x_bar,
    "dropped": lambda x_bar: x_bar.at[0].set(0),
    "percent": lambda x_bar: x_bar * 1.01,
}


def composed(names):
    def f(x):
        for name in names:
            x = STEPS[name](x)
        return x

    return f


def with_slip(f, slip):
    g = jax.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, y_bar: (SLIPS[slip](jax.vjp(f, x)[1](y_bar)[0]),))
    return g


CHAINS = st.lists(st.sampled_from([*STEPS]), min_size=1, max_size=4)
check = partial(verify.check_gradients, directions=1)


@fuzzed(1, CHAINS, st.integers(0, 999), st.sampled_from(["float32", "float64"]))
def test_right_rules_pass(names, seed, dtype):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=SHAPE), dtype)
        report = check(composed(names), (x,))
        assert report.ok, str(report)


@fuzzed(1, CHAINS, st.integers(0, 999), st.sampled_from([*SLIPS]))
def test_wrong_rules_fail(names, seed, slip):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=SHAPE))
        f = composed(names)
        y, pull_back = jax.vjp(f, x)
        y_bar = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
        (true,) = pull_back(y_bar)
        wrong = SLIPS[slip](true)
        if jnp.abs(wrong - true).max() <= 1e-3 * jnp.abs(true).max():
            return  # the slip changes nothing here
        report = check(with_slip(f, slip), (x,), modes="reverse", order=1)
        assert not report.ok, (names, slip)


@fuzzed(1, CHAINS, st.integers(0, 999), st.sampled_from([*verify.MODES]), st.booleans())
def test_options_of_the_verifier(names, seed, mode, swapped):
    """One mode, one of two arguments, and linear arguments; `assert_gradients` says the same."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=SHAPE))
        weights = jnp.asarray(np.random.default_rng(seed + 1).normal(size=SHAPE))
        f = composed(names)

        def weighted(a, b):
            return f(b) * a if swapped else f(a) * b

        options = {"argnums": (0,) if swapped else (1,), "modes": mode, "directions": 1}
        arguments = (weights, x) if swapped else (x, weights)
        report = verify.check_gradients(
            weighted, arguments, linear_in=options["argnums"], seed=seed, **options
        )
        assert report.ok, str(report)
        verify.assert_gradients(weighted, arguments, **options)
