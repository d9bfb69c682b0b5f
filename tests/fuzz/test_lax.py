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

from .checks import check_close, same_as_lax
from .running import fuzzed
from .strategies import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    dtypes,
    exact,
    is_integer,
    lax_calls,
    values,
)


@fuzzed(
    4, lax_calls(), dtypes(FLOATS, FLOATS, COMPLEX, INTEGERS, ["bool"]), values(), st.booleans()
)
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


@fuzzed(3, lax_calls(), dtypes(FLOATS), values(), st.booleans(), st.booleans())
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


@fuzzed(2, lax_calls(), dtypes(FLOATS), values())
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
