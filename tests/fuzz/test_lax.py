"""The drop-ins for `jax.lax`: the results of lax, and its refusals.

Covers jaxconv/lax.py, jaxconv/ops/_general.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

import jaxconv
import jaxconv.lax

from .running import fuzzed
from .strategies import COMPLEX, FLOATS, INTEGERS, dtypes, eps_of, exact, is_integer, values

LAYOUTS = {
    0: ["NC", "CN"],
    1: ["NC0", "N0C", "0NC"],
    2: ["NC01", "N01C", "01NC", "C10N"],
    3: ["NC012", "N012C", "2N10C"],
}
KERNELS = {
    0: ["OI", "IO"],
    1: ["OI0", "0IO", "I0O"],
    2: ["OI01", "01IO", "IO10"],
    3: ["OI012", "012IO", "1O2I0"],
}


@st.composite
def calls(draw):
    """Arguments of `conv_general_dilated`, mostly right, in any layout."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3, 0]))
    small = st.integers(1, 6)
    sizes = [draw(st.one_of(small, st.sampled_from([0, 9, 13]))) for _ in range(rank)]
    window = [draw(st.sampled_from([1, 2, 3, 3, 4, 0])) for _ in range(rank)]
    groups, batches = draw(st.sampled_from([(1, 1)] * 3 + [(2, 1), (3, 1), (1, 2), (1, 3), (2, 2)]))
    c, o = draw(st.sampled_from([1, 2, 3, 4])), draw(st.sampled_from([1, 2, 3]))
    n = draw(st.sampled_from([1, 2, 3, 0]))
    x_layout, y_layout = (draw(st.sampled_from(LAYOUTS[rank])) for _ in range(2))
    k_layout = draw(st.sampled_from(KERNELS[rank]))
    digits = "".join(map(str, range(rank)))
    x_size = dict(zip(f"NC{digits}", (n * batches, c * groups, *sizes), strict=True))
    k_size = dict(zip(f"OI{digits}", (o * groups * batches, c, *window), strict=True))
    side = st.sampled_from([0, 0, 1, 2, -1, -2, 5])
    pairs = st.tuples(*[st.tuples(side, side)] * rank)
    factors = st.tuples(*[st.sampled_from([1, 1, 2, 3])] * rank)
    arguments = {
        "window_strides": draw(factors),
        "padding": draw(st.one_of(st.sampled_from(["SAME", "VALID", "SAME_LOWER"]), pairs)),
        "lhs_dilation": draw(st.one_of(st.none(), factors)),
        "rhs_dilation": draw(st.one_of(st.none(), factors)),
        "dimension_numbers": (x_layout, k_layout, y_layout),
        "feature_group_count": groups,
        "batch_group_count": batches,
    }
    x_shape, k_shape = [x_size[d] for d in x_layout], [k_size[d] for d in k_layout]
    if draw(st.integers(0, 9)) == 0:  # a wrong size or option
        name = draw(st.sampled_from(["x", "kernel", "window_strides", "groups", "rank"]))
        if name in ("x", "kernel"):
            shape = x_shape if name == "x" else k_shape
            shape[draw(st.integers(0, rank + 1))] += draw(st.sampled_from([1, 2]))
        elif name == "rank":
            x_shape.append(1)
        elif name == "groups":
            arguments["feature_group_count"] = draw(st.sampled_from([0, -1, 7]))
        else:
            arguments["window_strides"] = draw(st.sampled_from([(0,) * rank, (1,) * (rank + 1)]))
    return tuple(x_shape), tuple(k_shape), arguments


def same_as_lax(ours, theirs, dtype, what=""):
    """Both give results of the same shape and nearly the same values, or both refuse the call.

    Returns the result of ours, or None.
    """
    refusals = TypeError, ValueError, RuntimeError
    try:
        expected = theirs()
    except (*refusals, ZeroDivisionError, IndexError, OverflowError) as error:
        expected = error
    try:
        actual = ours()
    except refusals as error:
        actual = error
    refused = isinstance(actual, Exception), isinstance(expected, Exception)
    assert refused[0] == refused[1], f"{what}: one of them refuses: {actual}, {expected}"
    if refused[0]:
        return None
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), what
    return actual, expected


def check_close(actual, expected, terms, scale, dtype, what):
    actual, expected = exact(actual), exact(expected)
    if is_integer(dtype):
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    # Both round each term in the dtype: lax adds half precision up in half precision.
    bound = 8 * (terms + 2) * eps_of(dtype) * scale
    wrong = ~(np.abs(actual - expected) <= bound)
    assert not wrong.any(), (what, actual[wrong][:3], expected[wrong][:3], bound)


@fuzzed(4, calls(), dtypes(FLOATS, FLOATS, COMPLEX, INTEGERS, ["bool"]), values(), st.booleans())
def test_conv_general_dilated(call, dtype, content, jit):
    x_shape, k_shape, options = call
    with jax.enable_x64(True):
        if dtype == "bool":
            x = np.random.default_rng(content.seed).random(size=x_shape) < 0.5
            kernel = np.random.default_rng(1).random(size=k_shape) < 0.5
        else:
            x = content.array(x_shape, dtype)
            kernel = content.array(k_shape, dtype, which=1)
            if content.content in ("huge", "tiny") and dtype in ("float16", *INTEGERS):
                return

        def run(f):
            g = lambda x, k: f(x, k, **options)  # noqa: E731
            return (jax.jit(g) if jit else g)(x, kernel)

        found = same_as_lax(
            lambda: run(jaxconv.conv_general_dilated), lambda: run(lax.conv_general_dilated), dtype
        )
        if found is None or dtype == "bool":
            return
        sizes = np.abs(exact(x)).max(initial=0) * np.abs(exact(kernel)).max(initial=0)
        terms = math.prod(k_shape)
        check_close(*found, terms, terms * sizes, dtype, "y")
        if is_integer(dtype) or 0 in (*x_shape, *k_shape, *found[0].shape):
            return
        y_bar = jnp.asarray(content.array(found[0].shape, dtype, which=2))
        ours, theirs = (
            jax.vjp(lambda x, k, f=f: f(x, k, **options), x, kernel)[1](y_bar)
            for f in (jaxconv.conv_general_dilated, lax.conv_general_dilated)
        )
        top = [np.abs(exact(a)).max(initial=0) for a in (x, kernel, y_bar)]
        for a, e, scale in zip(ours, theirs, (top[1] * top[2], top[0] * top[2]), strict=True):
            terms = max(kernel.size, y_bar.size)
            check_close(a, e, terms, terms * scale, dtype, "gradient")


@fuzzed(3, calls(), dtypes(FLOATS), values(), st.booleans(), st.booleans())
def test_conv_transpose(call, dtype, content, transpose_kernel, consistent):
    x_shape, k_shape, options = call
    with jax.enable_x64(True):
        x, kernel = content.array(x_shape, dtype), content.array(k_shape, dtype, which=1)
        if content.content in ("huge", "tiny"):
            return
        given = {
            "strides": options["window_strides"],
            "padding": options["padding"],
            "rhs_dilation": options["rhs_dilation"],
            "dimension_numbers": options["dimension_numbers"],
            "transpose_kernel": transpose_kernel,
            "use_consistent_padding": consistent,
        }
        found = same_as_lax(
            lambda: jaxconv.lax.conv_transpose(x, kernel, **given),
            lambda: lax.conv_transpose(x, kernel, **given),
            dtype,
        )
        if found is not None:
            top = np.abs(exact(x)).max(initial=0) * np.abs(exact(kernel)).max(initial=0)
            terms = math.prod(k_shape)
            check_close(*found, terms, terms * top, dtype, "conv_transpose")


@fuzzed(2, calls(), dtypes(FLOATS), values())
def test_short_forms(call, dtype, content):
    x_shape, k_shape, options = call
    if content.content in ("huge", "tiny"):
        return
    with jax.enable_x64(True):
        x, kernel = content.array(x_shape, dtype), content.array(k_shape, dtype, which=1)
        strides, padding = options["window_strides"], options["padding"]
        dilations = options["lhs_dilation"], options["rhs_dilation"]
        top = np.abs(exact(x)).max(initial=0) * np.abs(exact(kernel)).max(initial=0)
        terms = math.prod(k_shape)
        for name, arguments in (
            ("conv", (strides, padding)),
            ("conv_with_general_padding", (strides, padding, *dilations)),
        ):
            found = same_as_lax(
                lambda name=name, a=arguments: getattr(jaxconv.lax, name)(x, kernel, *a),
                lambda name=name, a=arguments: getattr(lax, name)(x, kernel, *a),
                dtype,
                name,
            )
            if found is not None:
                check_close(*found, terms, terms * top, dtype, name)
