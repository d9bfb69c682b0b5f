"""Pools against the definition: values, gradients, ties, infinities and NaN.

Covers jaxconv/ops/_max_pooling.py, jaxconv/ops/_sum_pooling.py, jaxconv/ops/_lp_pooling.py,
jaxconv/ops/_adaptive_pooling.py, jaxconv/ops/_unpooling.py, jaxconv/ops/_unfolding.py,
jaxconv/ops/_pool_options.py.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import jaxconv
from jaxconv import reference
from tests.oracles import transpose_of

from .checks import check_linear, check_shape
from .running import attempt, fuzzed
from .strategies import (
    ANY,
    COMPLEX,
    FLOATS,
    FORMS,
    REAL,
    SMALL_FLOATS,
    Values,
    assert_close,
    dtypes,
    exact,
    forms_of,
    is_complex,
    is_integer,
    maps,
    values,
    windows,
)

LINEAR = ("sum_pool", "avg_pool", "unfold")


def pooled(name, f, x):
    """The result of a pool, or None if windows do not fit."""
    y, refusal = attempt(lambda: f(x), name)
    assert refusal is None or "window covers" in refusal or "crops more" in refusal, refusal
    return y


@fuzzed(5, maps(), ANY, values(), st.sampled_from(("sum_pool", "avg_pool")), st.data())
def test_sums_and_means(shape, dtype, content, name, data):
    options = data.draw(windows(shape))
    if name == "avg_pool":
        options["count_include_pad"] = data.draw(st.booleans())
    f, definition = (partial(getattr(m, name), **options) for m in (jaxconv, reference))
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        if name == "avg_pool" and is_integer(dtype):
            return
        y = pooled(name, f, forms_of(x)[data.draw(st.sampled_from(FORMS))])
        if y is not None:
            terms = math.prod(reference._convolution.per_axis(options["window_shape"], len(shape)))
            check_linear(name, f, definition, x, y, terms + 2, dtype)


@fuzzed(4, maps(), ANY, values(), st.data())
def test_unfold_and_fold(shape, dtype, content, data):
    options = data.draw(windows(shape, ceil=False))
    options["strides"] = options["strides"] or 1
    f = partial(jaxconv.unfold, **options)
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        y = pooled("unfold", f, x)
        if y is None:
            return
        np.testing.assert_array_equal(exact(y), reference.unfold(exact(x), **options))
        check_shape(f, x, y)
        patches = content.array(y.shape, dtype, which=1)
        g = partial(jaxconv.fold, output_size=shape[1:-1], **options)
        if 0 in (*shape, *y.shape):
            assert g(patches).shape[1:-1] == shape[1:-1]
            return
        expected = reference.fold(exact(patches), shape[1:-1], **options)
        scale = reference.fold(np.abs(exact(patches)), shape[1:-1], **options)
        assert_close(g(patches), expected, scale, y.size, dtype, what="fold")
        if not is_integer(dtype):
            (x_bar,) = jax.vjp(f, jnp.asarray(x))[1](jnp.asarray(patches))
            assert_close(x_bar, expected, scale, y.size, dtype, what="x_bar of unfold")
            (back,) = jax.vjp(g, jnp.asarray(patches))[1](jnp.asarray(x))
            np.testing.assert_array_equal(exact(back), exact(y))


@fuzzed(
    6, maps(), REAL, values(), st.sampled_from(("max_pool", "min_pool")), st.booleans(), st.data()
)
def test_maxima(shape, dtype, content, name, specials, data):
    options = data.draw(windows(shape))
    ties = data.draw(st.sampled_from(["first", "split", "all"]))
    f = partial(getattr(jaxconv, name), ties=ties, **options)
    has_specials = specials and dtype in FLOATS
    with jax.enable_x64(True):
        x = Values(content.seed, content.content, has_specials).array(shape, dtype)
        y = pooled(name, f, forms_of(x)[data.draw(st.sampled_from(FORMS))])
        if y is None:
            return
        check_shape(f, x, y)
        with np.errstate(all="ignore"):
            expected = getattr(reference, name)(exact(x), **options)
        alone = np.isinf(expected)  # a window of padding alone, if x has no infinity
        if not has_specials:
            expected = np.where(alone, 0, expected)
            assert not is_integer(dtype) or not alone.any() or np.ptp(exact(y)[alone]) == 0
            y = np.where(alone, np.zeros((), dtype), y)
        np.testing.assert_array_equal(exact(y), expected)
        (member,) = jax.vmap(f, -1, -1)(jnp.asarray(x)[..., None]).transpose(-1, *range(x.ndim))
        np.testing.assert_array_equal(exact(f(x)), exact(member))
        if is_integer(dtype):
            return
        y_bar = Values(3, "whole").array(y.shape, dtype)
        y, pull_back = jax.vjp(f, jnp.asarray(x))
        (x_bar,) = pull_back(jnp.asarray(y_bar))
        sign = -1 if name == "min_pool" else 1
        with np.errstate(all="ignore"):
            want = reference.max_pool_vjp(sign * exact(x), exact(y_bar), ties=ties, **options)
            scale = reference.max_pool_vjp(
                sign * exact(x), np.abs(exact(y_bar)), ties=ties, **options
            )
        assert_close(x_bar, want, scale, 200, dtype, what=f"x_bar of {name}, {ties}")
        x_dot = Values(4, "whole").array(x.shape, dtype)
        _, y_dot = jax.jvp(f, (jnp.asarray(x),), (jnp.asarray(x_dot),))
        # <y_bar, y_dot> = <x_bar, x_dot>, where each side is rounded to the dtype once.
        eps = float(jnp.finfo(dtype).eps) * 8 * (x.size + y.size + 1)
        left, right = (exact(y_bar) * exact(y_dot)).sum(), (exact(x_bar) * exact(x_dot)).sum()
        size = 1 + np.abs(exact(y_bar)).sum() + np.abs(exact(x_bar) * exact(x_dot)).sum()
        assert abs(left - right) <= eps * size


@fuzzed(4, maps(), REAL, values(), st.data())
def test_argmax_and_unpooling(shape, dtype, content, data):
    options = data.draw(windows(shape))
    with jax.enable_x64(data.draw(st.booleans())):
        x = jnp.asarray(content.array(shape, jax.dtypes.canonicalize_dtype(dtype)))
        f = partial(jaxconv.max_pool_with_argmax, **options)
        found = pooled("max_pool_with_argmax", f, x)
        if found is None:
            return
        y, argmax = found
        np.testing.assert_array_equal(exact(y), exact(jaxconv.max_pool(x, **options)))
        if 0 in shape:
            assert (np.asarray(argmax) == -1).all()
        else:
            _, expected = reference.max_pool_with_argmax(exact(x), **options)
            np.testing.assert_array_equal(argmax, expected)
        overlaps = ["sum"] if is_integer(dtype) else ["sum", "mean"]
        overlap = data.draw(st.sampled_from(overlaps))
        g = partial(
            jaxconv.max_unpool,
            argmax=argmax,
            output_size=shape[1:-1],
            overlap=overlap,
            check_argmax=data.draw(st.booleans()),
            **options,
        )
        values = jnp.asarray(content.array(y.shape, dtype, which=2))
        back = g(values)
        assert back.shape == x.shape
        if 0 in shape:
            return
        define = partial(reference.max_unpool, output_size=shape[1:-1], overlap=overlap)
        expected = define(exact(values), np.asarray(argmax))
        scale = define(np.abs(exact(values)), np.asarray(argmax))
        assert_close(back, expected, scale, 100, x.dtype, what=f"unpool, {overlap}")


@fuzzed(3, maps(), dtypes(FLOATS), values(), st.sampled_from([1, 2, 3, 1.5, 2.5, 4.0]), st.data())
def test_norms(shape, dtype, content, p, data):
    options = data.draw(windows(shape))
    f = partial(jaxconv.lp_pool, p=p, **options)
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        if content.content in ("huge", "tiny"):
            x = (exact(x) / (np.abs(exact(x)).max(initial=0) or 1)).astype(dtype)
        y = pooled("lp_pool", f, x)
        if y is None:
            return
        check_shape(f, x, y)
        expected = reference.lp_pool(exact(x), p, **options)
        terms = 8 * (x.size + 4)
        assert_close(y, expected, expected, terms, dtype, what="lp_pool")
        y_bar = Values(5).array(y.shape, dtype)
        (x_bar,) = jax.vjp(f, jnp.asarray(x))[1](jnp.asarray(y_bar))
        assert np.isfinite(exact(x_bar)).all()
        if dtype != "float64" or 0 in (*shape, *y.shape):
            return
        sums = partial(reference.sum_pool, **options)
        with np.errstate(all="ignore"):
            share = np.where(expected == 0, 0, y_bar * expected ** (1.0 - p))
            want = np.sign(x) * np.abs(x) ** (p - 1.0) * transpose_of(sums, x.shape, share)
            scale = np.abs(x) ** (p - 1.0) * transpose_of(sums, x.shape, np.abs(share))
        # A window of tiny elements divides by a power of their norm.
        assert_close(x_bar, want, scale, 10 * terms, dtype, what="x_bar of lp_pool")


SIZED = ("adaptive_avg_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool")


@fuzzed(
    4, maps(), dtypes(FLOATS, SMALL_FLOATS, COMPLEX), values(), st.sampled_from(SIZED), st.data()
)
def test_pools_of_given_size(shape, dtype, content, name, data):
    options = {}
    if name.startswith("adaptive"):
        sizes = st.integers(1, 6)
        options["output_size"] = data.draw(st.one_of(sizes, st.tuples(*[sizes] * (len(shape) - 2))))
    if is_complex(dtype) and "max" in name:
        return
    f, definition = (partial(getattr(m, name), **options) for m in (jaxconv, reference))
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        if 0 in shape[1:-1]:
            _, refusal = attempt(lambda: f(x), name)
            assert refusal is not None
            assert "x must have pixels" in refusal
            return
        y = f(x)
        if "avg" in name and not is_complex(dtype):
            check_linear(name, f, definition, x, y, 2 * x.size, dtype)
        elif "max" in name and 0 not in shape:
            np.testing.assert_array_equal(exact(y), definition(exact(x)))
            (x_bar,) = jax.vjp(f, jnp.asarray(x))[1](jnp.ones(y.shape, dtype))
            assert exact(x_bar).shape == x.shape
            if dtype in FLOATS[:2]:
                assert exact(x_bar).sum() == y.size
