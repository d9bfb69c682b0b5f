"""Convolutions against the definition: values, gradients, transformations, infinities and NaN.

Covers jaxconv/ops/_convolution.py, jaxconv/ops/_transposed.py, jaxconv/ops/_block.py,
jaxconv/ops/_dense.py, jaxconv/ops/_options.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

import jaxconv
from jaxconv import reference

from .running import attempt, fuzzed
from .strategies import (
    ANY,
    COMPLEX,
    FLOATS,
    FORMS,
    SMALL_FLOATS,
    Convolution,
    accumulator,
    assert_close,
    boundaries,
    convolutions,
    dtypes,
    exact,
    forms_of,
    is_integer,
    values,
)

INEXACT = dtypes(FLOATS, FLOATS, COMPLEX, SMALL_FLOATS)
IMPLS = st.sampled_from([None, None, None, "textbook", "lax"])


def call(case, f, *operands, name="conv", **options):
    """The result of a call, or None where it must be refused and is."""
    result, refusal = attempt(lambda: f(*operands, **case.options, **options), name)
    assert (refusal is None) == case.is_valid, refusal
    return result


def magnitudes(case, x, kernel, y_bar):
    x, kernel, y_bar = (np.abs(exact(a)) for a in (x, kernel, y_bar))
    return defined(case, x, kernel, y_bar)


def defined(case, x, kernel, y_bar):
    """Output and both cotangents by the definition."""
    x, kernel, y_bar, options = exact(x), exact(kernel), exact(y_bar), case.for_reference
    with np.errstate(all="ignore"):
        return (
            reference.conv(x, kernel, **options),
            reference.conv_input_vjp(y_bar, kernel, x.shape, **options),
            reference.conv_kernel_vjp(x, y_bar, kernel.shape, **options),
        )


def operands_of(case, dtype, content):
    shapes = case.x_shape, case.kernel_shape, case.y_shape
    return [content.array(shape, dtype, which=i) for i, shape in enumerate(shapes)]


@fuzzed(6, convolutions(), ANY, values(), IMPLS, st.sampled_from(FORMS))
def test_three_contractions_equal_the_definition(case, dtype, content, impl, form):
    with jax.enable_x64(True):
        x, kernel, y_bar = operands_of(case, dtype, content)
        given = [forms_of(a)[form] for a in (x, kernel, y_bar)]
        y = call(case, jaxconv.conv, *given[:2], impl=impl)
        if y is None:
            return
        f = partial(jaxconv.conv, **case.options, impl=impl)
        shape = jax.eval_shape(f, *given[:2])
        assert (shape.shape, shape.dtype) == (y.shape, y.dtype)
        x_bar = call(
            case, jaxconv.conv_input_vjp, given[2], given[1], x.shape, name="conv_input_vjp"
        )
        k_bar = call(
            case, jaxconv.conv_kernel_vjp, given[0], given[2], kernel.shape, name="conv_kernel_vjp"
        )
        results = [y, x_bar, k_bar]
        if not is_integer(dtype):
            _, pull_back = jax.vjp(f, *given[:2])
            results += pull_back(jnp.asarray(given[2]))
    expected = defined(case, x, kernel, y_bar)
    scales = magnitudes(case, x, kernel, y_bar)
    names = ("y", "x_bar", "k_bar", "x_bar of vjp", "k_bar of vjp")
    for i, (name, actual) in enumerate(zip(names, results, strict=False)):
        which = (0, 1, 2, 1, 2)[i]
        # What is folded back from the padding to its sources has been rounded before.
        folded = which == 1 and case.options["padding_mode"] != "zeros"
        assert_close(
            actual,
            expected[which],
            scales[which],
            case.terms[which],
            dtype,
            wide=dtype if folded else None,
            what=name,
        )


@fuzzed(4, boundaries(), ANY, values())
def test_boundaries(case, dtype, content):
    """Padding that is taken from the map, and the gradient that flows back to its sources."""
    assume(case.is_valid and len(case.x_shape) > 2)
    with jax.enable_x64(True):
        x, kernel, y_bar = operands_of(case, dtype, content)
        y = jaxconv.conv(x, kernel, **case.options)
        x_bar = jaxconv.conv_input_vjp(y_bar, kernel, x.shape, **case.options)
    expected, scales = defined(case, x, kernel, y_bar), magnitudes(case, x, kernel, y_bar)
    assert_close(y, expected[0], scales[0], case.terms[0], dtype, what="y")
    assert_close(x_bar, expected[1], scales[1], case.terms[1], dtype, wide=dtype, what="x_bar")


@fuzzed(3, convolutions(), INEXACT, values(), st.sampled_from(["jvp", "vmap", "jit", "second"]))
def test_transformations(case, dtype, content, which):
    assume(case.is_valid)
    with jax.enable_x64(True):
        x, kernel, y_bar = (jnp.asarray(a) for a in operands_of(case, dtype, content))
        f = partial(jaxconv.conv, **case.options)
        y, _, _ = defined(case, x, kernel, y_bar)
        scale, *_ = magnitudes(case, x, kernel, y_bar)
        check = partial(assert_close, terms=4 * case.terms[0], dtype=dtype)
        if which == "jit":
            check(jax.jit(f)(x, kernel), y, scale)
        elif which == "jvp":
            out, y_dot = jax.jvp(f, (x, kernel), (x, kernel))
            check(out, y, scale)
            # Half precision is rounded once for each of the two terms.
            check(y_dot, 2 * y, 4 * scale * (1 + eps_ratio(dtype)))
        elif which == "vmap":
            for axes, *operands in (
                ((0, None), jnp.stack([x, x]), kernel),
                ((None, 0), x, jnp.stack([kernel, kernel])),
                ((1, -1), jnp.stack([x, x], 1), jnp.stack([kernel, kernel], -1)),
            ):
                for member in jax.vmap(f, axes)(*operands):
                    check(member, y, scale)
        else:
            # <y_bar, conv(x, k)> differentiated by x and then by k along k is linear in both.
            def inner(x, kernel):
                return jax.vjp(lambda x: f(x, kernel), x)[1](y_bar)[0]

            x_bar, x_bar_dot = jax.jvp(partial(inner, x), (kernel,), (kernel,))
            np.testing.assert_array_equal(exact(x_bar), exact(x_bar_dot))


def eps_ratio(dtype):
    return float(jnp.finfo(dtype).eps) / float(jnp.finfo(accumulator(dtype)).eps)


@fuzzed(
    3, convolutions(), dtypes(FLOATS, COMPLEX), values(), st.sampled_from(["x", "kernel"]), IMPLS
)
def test_infinities_and_nan_reach_what_the_definition_says(case, dtype, content, where, impl):
    """In the forward pass exactly; the gradients at least."""
    assume(case.is_valid)
    with jax.enable_x64(True):
        x, kernel, y_bar = operands_of(case, dtype, type(content)(content.seed))
        special = type(content)(content.seed, "normal", True)
        if where == "x":
            x = special.array(x.shape, dtype, which=0)
        else:
            kernel = special.array(kernel.shape, dtype, which=1)
        y, pull_back = jax.vjp(partial(jaxconv.conv, **case.options, impl=impl), x, kernel)
        bars = pull_back(jnp.asarray(y_bar))
    expected = defined(case, x, kernel, y_bar)
    if impl != "lax":
        np.testing.assert_array_equal(np.isfinite(exact(y)), np.isfinite(expected[0]))
        # An infinite tap may be multiplied by a zero in an element that sees none: inf + 0 · inf.
        if where == "x" and not np.issubdtype(expected[0].dtype, np.complexfloating):
            np.testing.assert_array_equal(np.isnan(exact(y)), np.isnan(expected[0]))
    for actual, e in zip(bars, expected[1:], strict=True):
        assert not np.isfinite(exact(actual))[~np.isfinite(e)].any()
    if case.options["feature_group_count"] == 1:
        # Not into gradients of other channels.
        special = x if where == "x" else kernel.swapaxes(-1, -2)
        others = np.isfinite(exact(special)).all(tuple(range(special.ndim - 1)))
        assert np.isfinite(exact(bars[0]))[..., others].all() or where == "x"
        assert np.isfinite(exact(bars[1]))[..., others, :].all() or where == "kernel"


@fuzzed(3, convolutions(modes=False), INEXACT, values(), st.data())
def test_transposed_convolution_is_the_adjoint(case, dtype, content, data):
    # It makes no empty map of one that is not.
    sizes = zip(case.x_shape[1:-1], case.y_shape[1:-1], strict=True)
    assume(case.is_valid and all(i > 0 or p == 0 for i, p in sizes))
    with jax.enable_x64(True):
        _, kernel, y = operands_of(case, dtype, content)
        options, size = case.options, case.x_shape[1:-1]
        f = partial(jaxconv.conv_transpose, **options)
        x = f(y, kernel, output_shape=size) if size else f(y, kernel)
        _, expected, _ = defined(case, np.zeros(case.x_shape), kernel, y)
        _, scale, _ = magnitudes(case, np.zeros(case.x_shape), kernel, y)
        assert_close(x, expected, scale, case.terms[1], dtype, what="conv_transpose")
        # Without a size the result is one that the convolution maps to that of y.
        free, _ = attempt(lambda: f(y, kernel), "conv_transpose")
        if free is None:
            return
        other = Convolution(free.shape, case.kernel_shape, options)
        assert other.y_shape == y.shape
        _, expected, _ = defined(other, np.zeros(free.shape), kernel, y)
        _, scale, _ = magnitudes(other, np.zeros(free.shape), kernel, y)
        assert_close(free, expected, scale, case.terms[1], dtype, what="without output_shape")


@fuzzed(3, convolutions(), dtypes(FLOATS), values(), st.data())
def test_block_equals_its_parts(case, dtype, content, data):
    assume(case.is_valid and len(case.x_shape) > 2)
    pool = data.draw(st.fixed_dictionaries({
        "window_shape": st.integers(1, 3),
        "pool_strides": st.sampled_from([None, 1, 2]),
        "pool_padding": st.sampled_from(["VALID", "SAME", 1]),
        "pool_ceil_mode": st.booleans(),
    }))  # fmt: skip
    activation = data.draw(st.sampled_from(["relu", "tanh", None]))
    with jax.enable_x64(True):
        x, kernel, _ = operands_of(case, dtype, content)
        bias = content.array(kernel.shape[-1:], dtype, which=3)

        def parts(x, kernel, bias):
            a = jaxconv.add_bias(jaxconv.conv(x, kernel, **case.options), bias)
            a = {"relu": jaxconv.relu, "tanh": jaxconv.tanh, None: lambda a: a}[activation](a)
            names = "window_shape", "pool_strides", "pool_padding"
            ceil_mode = pool["pool_ceil_mode"]
            return jaxconv.max_pool(a, *(pool[name] for name in names), ceil_mode=ceil_mode)

        block = partial(jaxconv.conv_block, activation=activation, **case.options, **pool)
        expected, _ = attempt(lambda: parts(x, kernel, bias), "max_pool")
        actual, _ = attempt(lambda: block(x, kernel, bias), "conv_block")
        assert (actual is None) == (expected is None)
        if actual is None:
            return
        largest = magnitudes(case, x, kernel, np.zeros(case.y_shape))[0]
        scale = 1 + largest.max(initial=0) + np.abs(exact(bias)).max(initial=0)
        close = partial(assert_close, magnitude=scale, dtype=dtype)
        seen = np.isfinite(exact(expected))  # a window of padding alone has the least number
        alone = {"relu": 0, "tanh": -1, None: -np.inf}[activation]
        assert (exact(actual)[~seen] == alone).all()
        terms = 4 * case.terms[0] * (1 + eps_ratio(dtype))
        close(np.where(seen, actual, 0), np.where(seen, exact(expected), 0), terms=terms)
        shape = jax.eval_shape(block, x, kernel, bias)
        assert (shape.shape, shape.dtype) == (actual.shape, actual.dtype)
        # Ties are likely for drawn numbers of these kinds, and may be settled differently.
        if content.content not in ("normal",) or dtype != "float64":
            return
        y_bar = content.array(actual.shape, dtype, which=4)
        ours, theirs = (jax.vjp(f, x, kernel, bias)[1](y_bar) for f in (block, parts))
        for a, e in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-9 * scale)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 7]), min_size=0, max_size=3)
FEATURES = st.sampled_from([0, 1, 2, 3, 17, 64])


@fuzzed(3, SHAPES, FEATURES, FEATURES, ANY, values())
def test_dense_equals_a_product_of_matrices(examples, c, o, dtype, content):
    with jax.enable_x64(True):
        x, kernel = content.array((*examples, c), dtype), content.array((c, o), dtype, which=1)
        y = jaxconv.dense(x, kernel)
        expected, scale = exact(x) @ exact(kernel), np.abs(exact(x)) @ np.abs(exact(kernel))
        assert_close(y, expected, scale, c, dtype)
        if is_integer(dtype):
            return
        y_bar = content.array(y.shape, dtype, which=2)
        x_bar, k_bar = jax.vjp(jaxconv.dense, x, kernel)[1](jnp.asarray(y_bar))
        rows, bars = exact(x).reshape(-1, c) if c else np.zeros((0, c)), exact(y_bar)
        bars = bars.reshape(-1, o) if o else np.zeros((0, o))
        assert_close(
            x_bar, exact(y_bar) @ exact(kernel).T, np.abs(exact(y_bar)) @ np.abs(exact(kernel)).T,
            o, dtype,
        )  # fmt: skip
        if c and o:
            assert_close(k_bar, rows.T @ bars, np.abs(rows).T @ np.abs(bars), len(rows), dtype)
