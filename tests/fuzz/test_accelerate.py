"""Programs that call lax, with this library in place: the values and gradients stay.

Convolutions and windows of any geometry; `tests/accelerate/test_random_programs.py` nests the
constructs of JAX.

Covers jaxconv/_accelerate/_convolutions.py, jaxconv/_accelerate/_pools.py.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

from jaxconv import accelerate

from .checks import check_close, same_as_lax
from .running import fuzzed
from .strategies import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    Values,
    dtypes,
    exact,
    is_integer,
    lax_calls,
    values,
)

OPERATIONS = {
    "max": (lax.max, lambda dtype: -jnp.inf if dtype in FLOATS else np.iinfo(dtype).min),
    "min": (lax.min, lambda dtype: jnp.inf if dtype in FLOATS else np.iinfo(dtype).max),
    "add": (lax.add, lambda dtype: 0),
    "mul": (lax.mul, lambda dtype: 1),
    "first": (lax.max, lambda dtype: 0),
}


@fuzzed(3, lax_calls(), dtypes(FLOATS, FLOATS, COMPLEX, INTEGERS), values(), st.booleans())
def test_convolutions(call, dtype, content, nested):
    x_shape, k_shape, options = call
    if content.content in ("huge", "tiny"):
        return
    with jax.enable_x64(True):
        x, kernel = content.array(x_shape, dtype), content.array(k_shape, dtype, which=1)

        def f(x, kernel):
            return lax.conv_general_dilated(x, kernel, **options)

        ours = jax.jit(accelerate(jax.jit(f))) if nested else accelerate(f)
        found = same_as_lax(lambda: ours(x, kernel), lambda: f(x, kernel), dtype)
        if found is None:
            return
        top = [np.abs(exact(a)).max(initial=0) for a in (x, kernel)]
        terms = math.prod(k_shape)
        check_close(*found, terms, terms * top[0] * top[1], dtype, "y")
        if is_integer(dtype) or 0 in (*x_shape, *k_shape, *found[0].shape):
            return
        y_bar = jnp.asarray(content.array(found[0].shape, dtype, which=2))

        def gradients(f):
            return lambda x, kernel: jax.vjp(f, x, kernel)[1](y_bar)

        expected = gradients(f)(x, kernel)
        high = np.abs(exact(y_bar)).max(initial=0)
        terms = max(kernel.size, y_bar.size)
        for g in (gradients(accelerate(f)), accelerate(gradients(f))):
            for a, e, t in zip(g(x, kernel), expected, (top[1], top[0]), strict=True):
                check_close(a, e, terms, terms * t * high, dtype, "gradient")


@st.composite
def pools(draw):
    """Shapes and arguments of `lax.reduce_window`, on any axes."""
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(st.sampled_from([1, 2, 3, 4, 5, 7, 0])) for _ in range(rank))
    while math.prod(shape) > 500:
        shape = (*shape[:-1], 1) if shape[-1] > 1 else tuple(min(size, 3) for size in shape)
    each = partial(lambda choices: st.tuples(*[st.sampled_from(choices)] * rank))
    side = st.sampled_from([0, 0, 1, 2, -1])
    padding = draw(
        st.one_of(
            st.sampled_from(["SAME", "VALID"]),
            st.tuples(*[st.tuples(side, side)] * rank),
        )
    )
    window, strides = draw(each([1, 1, 2, 3])), draw(each([1, 1, 2, 3]))
    if {*window, *strides} == {1}:  # XLA then crops with a program that ends the process
        padding = "VALID"
    return shape, {
        "window_dimensions": window,
        "window_strides": strides,
        "padding": padding,
        "base_dilation": draw(st.one_of(st.none(), each([1, 1, 2]))),
        "window_dilation": draw(st.one_of(st.none(), each([1, 1, 2]))),
    }


@fuzzed(4, pools(), dtypes(FLOATS, INTEGERS), values(), st.sampled_from([*OPERATIONS]))
def test_windows(call, dtype, content, name):
    shape, options = call
    operation, start = OPERATIONS[name]
    if content.content in ("huge", "tiny") or (name == "first" and dtype.startswith("uint")):
        return
    with jax.enable_x64(True):
        x = jnp.asarray(Values(content.seed, content.content).array(shape, dtype))
        initial = np.array(start(dtype)).astype(dtype)

        def f(x):
            return lax.reduce_window(x, initial, operation, **options)

        found = same_as_lax(lambda: accelerate(f)(x), lambda: f(x), dtype)
        if found is None:
            return
        terms = math.prod(options["window_dimensions"])
        seen = np.isfinite(exact(found[1]))
        np.testing.assert_array_equal(np.isfinite(exact(found[0])), seen)
        top = np.abs(exact(x)).max(initial=0)
        top = max(top, 1) ** terms if name == "mul" else terms * top
        given = (jnp.where(seen, a, jnp.zeros((), dtype)) for a in found)
        check_close(*given, terms, top, dtype, name)
        if is_integer(dtype) or name in ("mul", "first"):
            return
        y_bar = jnp.asarray(content.array(found[0].shape, dtype, which=1))

        def gradient(f):
            return lambda x: jax.vjp(f, x)[1](y_bar)[0]

        def run(f):
            try:
                return f(x)
            except (NotImplementedError, TypeError, ValueError):  # dilated maxima, empty maps
                return None

        expected = run(gradient(f))
        if expected is None:
            return
        if name != "add" and content.content != "normal":
            return  # lax does not say which of several maxima gets the gradient
        for g in (gradient(accelerate(f)), accelerate(gradient(f))):
            top = np.abs(exact(y_bar)).max(initial=0) * max(y_bar.size, 1)
            check_close(g(x), expected, y_bar.size, top, dtype, f"gradient of {name}")
