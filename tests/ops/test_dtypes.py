"""The dtypes of results and gradients of convolutions, and the dtype of their sums.

Covers jaxconv/ops/_operands.py, jaxconv/ops/_compile.py.
"""

from functools import partial
from itertools import islice

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxconv import (
    add_bias,
    conv,
    conv_block,
    conv_general_dilated,
    conv_input_vjp,
    conv_kernel_vjp,
    conv_transpose,
    dense,
    nn,
)
from tests.oracles import assert_within_rounding, lax_conv, three_contractions, together

DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


@pytest.mark.usefixtures("float64")
def test_every_dtype_equals_lax(normal):
    """Value and gradients, chosen and textbook, against lax in the widest dtype."""
    options = {"strides": (2, 1), "padding": ((1, 2), (0, 1))}
    impls, rows, ours, theirs = (None, "textbook"), [], [], []
    for dtype in DTYPES:
        wide = "complex128" if dtype.startswith("complex") else "float64"
        x, kernel, y_bar = (normal(shape) for shape in ((2, 7, 6, 4), (3, 2, 2, 6), (2, 4, 6, 6)))
        if wide == "complex128":
            x, kernel = x + 1j * x[::-1], kernel - 1j * kernel[::-1]
        arrays = [np.asarray(a).astype(dtype) for a in (x, kernel, y_bar)]
        theirs_of_one = partial(three_contractions, partial(lax_conv, **options, groups=2))
        theirs.append((theirs_of_one, *(a.astype(wide) for a in arrays)))
        for impl in impls:
            rows.append((dtype, impl, wide, arrays))
            f = partial(conv, **options, feature_group_count=2, impl=impl)
            ours.append((partial(three_contractions, f), *arrays))
    expected = [of_one for of_one in together(theirs, magnitudes=True) for _ in impls]
    for row, actual, (exact, scale) in zip(rows, together(ours), expected, strict=True):
        dtype, impl, wide, (x, kernel, y_bar) = row
        for a, e, s, like in zip(actual, exact, scale, (y_bar, x, kernel), strict=True):
            assert a.dtype == like.dtype
            # Half precision is rounded once; the others once a term.
            eps = float(jnp.finfo(dtype).eps)
            terms = 1 if eps > 1e-4 else x.size
            relative = eps / np.finfo(np.float64).eps
            name = f"{dtype}, {impl}"
            assert_within_rounding(a.astype(wide), e, np.abs(s) * relative, terms, name)


INTEGERS = {"int8": "int32", "uint8": "int32", "int32": None, "int16": "float32"}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_equal_lax(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 5, (2, 3, 6, 5)), dtype)
    kernel = jnp.asarray(rng.integers(0, 5, (4, 3, 2, 3)), dtype)
    options = {"preferred_element_type": INTEGERS[dtype]}
    ours = conv_general_dilated(x, kernel, (1, 2), "SAME", **options)
    theirs = lax.conv_general_dilated(x, kernel, (1, 2), "SAME", **options)
    chex.assert_trees_all_equal(ours, theirs)


KINDS = ["int8", "uint8", "int16", "int32", "uint32", "int64", *DTYPES, "float8_e5m2"]


@pytest.mark.usefixtures("float64", "no_type_checker")
@pytest.mark.parametrize("dtype", KINDS)
def test_preferred_dtypes_are_those_of_lax(dtype):
    """Of numbers of each dtype, lax may add up products in the same dtypes; nothing is computed."""
    x, kernel = jax.ShapeDtypeStruct((1, 3, 1), dtype), jax.ShapeDtypeStruct((2, 1, 1), dtype)

    def result(f, preferred):
        try:
            return jax.eval_shape(partial(f, preferred_element_type=preferred), x, kernel).dtype
        except TypeError:
            return None

    layouts = {"dimension_numbers": ("NHC", "HIO", "NHC")}
    of_lax = partial(lax.conv_general_dilated, window_strides=(1,), padding="VALID", **layouts)
    preferred = [np.dtype(kind) for kind in KINDS]
    found = {of: result(conv, of) for of in preferred}
    assert found == {of: result(of_lax, of) for of in preferred}
    assert found[np.dtype(dtype)] == dtype


def narrow(dtype, *shapes):
    """Small integers, which these dtypes hold exactly, and whose products float32 adds exactly."""
    rng = np.random.default_rng(0)
    low = 1 if dtype == "float8_e8m0fnu" else 0 if "uint" in dtype else -2
    values = [rng.integers(low, 3 if low < 1 else 2, shape) for shape in shapes]
    if dtype.startswith("int2"):
        values = [np.minimum(value, 1) for value in values]
    return [jnp.asarray(value, "float32").astype(dtype) for value in values]


def as_numbers(tree):
    return jax.tree.map(lambda a: np.asarray(a).astype("float32"), tree)


FLOAT8 = [name for name in dir(jnp) if name.startswith(("float8", "float4"))]


NARROW = [*FLOAT8, "int4", "uint4", "int2", "uint2", "int8"]


def narrow_and_wide(dtype, count=None):
    """The first `count` functions: with narrow operands, and the same with the values in float32.

    Each is a function of its operands alone, which gives the result and, of floats, the cotangents.
    """
    x, kernel, features, weights = narrow(dtype, (2, 6, 5, 4), (2, 3, 4, 4), (3, 70), (70, 2))
    preferred = "float32" if "float" in dtype else "int32"
    layouts = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def functions(**options):
        """Each with its operands, bilinear in both."""
        operands = {"x": x, "kernel": kernel}
        for impl in (None, "textbook", "lax"):
            yield partial(conv, strides=(2, 1), impl=impl, **options), operands
            yield partial(conv_transpose, impl=impl, **options), operands
        yield (
            partial(conv, feature_group_count=2, **options),
            operands | {"kernel": kernel[:, :, :2]},
        )
        yield partial(conv_block, window_shape=2, **options), operands
        yield partial(dense, **options), {"x": features, "kernel": weights}
        drop_in = partial(conv_general_dilated, window_strides=(1, 1), padding="VALID", **layouts)
        yield partial(drop_in, **options), {"lhs": x, "rhs": kernel}
        yield (
            partial(conv_input_vjp, input_shape=(2, 7, 7, 4), **options),
            {"y_bar": x, "kernel": kernel},
        )
        yield (
            partial(conv_kernel_vjp, kernel_shape=(6, 5, 4, 4), **options),
            {"x": x, "y_bar": x[:, :1, :1]},
        )

    def result_and_cotangents(given, f):
        if "float" not in dtype:
            return f(**given), ()
        y, pull_back = jax.vjp(lambda given: f(**given), given)
        return y, pull_back(jnp.ones(y.shape))[0]

    pairs = zip(functions(preferred_element_type=preferred), functions(), strict=True)
    for (f, operands), (g, _) in islice(pairs, count):
        wide = {name: a.astype("float32") for name, a in operands.items()}
        yield (
            (partial(result_and_cotangents, f=f), operands),
            (partial(result_and_cotangents, f=g), wide),
        )


def check_narrow(dtypes, count=None):
    """Products are those of the values in float32, also where lax has no program for them."""
    rows = [(dtype, pair) for dtype in dtypes for pair in narrow_and_wide(dtype, count)]
    ours, theirs = (together([pair[i] for _, pair in rows]) for i in range(2))
    for (dtype, _), (y, bars), (wide, wide_bars) in zip(rows, ours, theirs, strict=True):
        assert y.dtype == ("float32" if "float" in dtype else "int32")
        assert all(bar.dtype == dtype for bar in jax.tree.leaves(bars))
        expected = wide, jax.tree.map(lambda bar, dtype=dtype: bar.astype(dtype), wide_bars)
        chex.assert_trees_all_equal(as_numbers((y, bars)), as_numbers(expected))


def test_narrow_operands_with_a_wide_result():
    """One dtype of each kind in one function; the exhaustive run has all functions."""
    check_narrow(["float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn", "uint2", "int8"], count=1)


@pytest.mark.exhaustive
def test_every_narrow_dtype_with_a_wide_result():
    check_narrow(NARROW, count=1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int4", "float4_e2m1fn"])
def test_narrow_operands_with_a_wide_result_in_all_functions(dtype):
    check_narrow([dtype])


@pytest.mark.parametrize("dtype", ["float8_e5m2", "float8_e4m3fn", "bfloat16"])
def test_long_sums_of_narrow_products_are_rounded_once(dtype):
    x, kernel = jnp.ones((1, 400), dtype), jnp.ones((400, 1), dtype)
    sums = [dense(x, kernel), *(conv(x, kernel, impl=impl) for impl in ("textbook", "lax"))]
    sums += [conv(x[:, :, None], kernel[:, :, None]), add_bias_gradient(x.T)]
    expected = jnp.asarray([400.0]).astype(dtype)
    for total in sums:
        assert total.dtype == dtype
        np.testing.assert_array_equal(as_numbers(total.ravel()), as_numbers(expected))


def add_bias_gradient(y_bar):
    return jax.vjp(lambda bias: add_bias(jnp.zeros_like(y_bar), bias), y_bar[0])[1](y_bar)[0]


@pytest.mark.parametrize("impl", [None, "textbook", "lax"])
def test_a_float32_cotangent_of_half_precision_operands(impl, normal):
    """What a preferred float32 result has; its gradients, asked for one by one."""
    x, kernel = normal((2, 6, 5, 3), "bfloat16"), normal((3, 2, 3, 4), "bfloat16")
    y_bar = normal((2, 4, 4, 4), "float32")
    y, pull_back = jax.vjp(partial(conv, preferred_element_type="float32"), x, kernel)
    assert y.dtype == "float32"
    x_bar = conv_input_vjp(y_bar, kernel, x.shape, impl=impl)
    k_bar = conv_kernel_vjp(x, y_bar, kernel.shape, impl=impl)
    assert (x_bar.dtype, k_bar.dtype) == ("float32", "bfloat16")
    chex.assert_trees_all_equal([x_bar.astype("bfloat16"), k_bar], [*pull_back(y_bar)])
    chex.assert_trees_all_equal(conv_transpose(y_bar, kernel, impl=impl), x_bar)
    short = conv_input_vjp(y_bar, kernel, x.shape, preferred_element_type="bfloat16", impl=impl)
    chex.assert_trees_all_equal(short, x_bar.astype("bfloat16"))
    wide = conv_kernel_vjp(x, y_bar, kernel.shape, preferred_element_type="float32", impl=impl)
    exact = conv_kernel_vjp(x.astype("float32"), y_bar, kernel.shape)
    size = conv_kernel_vjp(abs(x.astype("float32")), abs(y_bar), kernel.shape)
    assert_within_rounding(wide, exact, size, 2 * 4 * 4)
    y_dot, kernel_dot = jax.vjp(lambda y, k: conv_transpose(y, k, impl=impl), y_bar, kernel)[1](
        x_bar
    )
    assert (y_dot.dtype, kernel_dot.dtype) == ("float32", "bfloat16")


def test_wide_kernel_gradient_of_narrow_products(normal):
    """The gradient of a float32 kernel that is used in bfloat16 is that of the rounded problem."""
    x, y_bar = normal((4, 9, 9, 3), "bfloat16"), normal((4, 7, 7, 5), "bfloat16")
    kernel = normal((3, 3, 3, 5), "float32")
    narrow = kernel.astype("bfloat16")
    f = partial(conv, kernel_dtype=jnp.bfloat16)
    y, pull_back = jax.vjp(f, x, kernel)
    x_bar, k_bar = pull_back(y_bar)
    assert [a.dtype for a in (y, x_bar, k_bar)] == ["bfloat16", "bfloat16", "float32"]
    expected, narrow_pull_back = jax.vjp(conv, x, narrow)
    chex.assert_trees_all_equal([y, x_bar], [expected, narrow_pull_back(y_bar)[0]])
    asked_for = conv_kernel_vjp(x, y_bar, kernel.shape, preferred_element_type=jnp.float32)
    chex.assert_trees_all_equal(k_bar, asked_for)
    exact = conv_kernel_vjp(x.astype("float32"), y_bar.astype("float32"), kernel.shape)
    size = conv_kernel_vjp(abs(x.astype("float32")), abs(y_bar.astype("float32")), kernel.shape)
    assert_within_rounding(k_bar, exact, size, 4 * 7 * 7)
    rounded = narrow_pull_back(y_bar)[1].astype("float32")
    assert np.abs(rounded - exact).max() > 100 * np.abs(k_bar - exact).max()


def test_wide_kernel_in_every_mode(normal):
    x, kernel = normal((2, 6, 6, 3), "bfloat16"), normal((3, 3, 3, 4), "float32")
    f = partial(conv, kernel_dtype="bfloat16")
    y, y_dot = jax.jvp(partial(f, x), (kernel,), (kernel,))
    chex.assert_trees_all_equal(y, y_dot)  # linear in the kernel

    def loss(kernel):
        return jnp.sum(f(x, kernel).astype("float32") ** 2)

    twice = jax.jit(jax.grad(lambda k: jnp.vdot(jax.grad(loss)(k), k)))(kernel)
    assert twice.dtype == "float32"
    chex.assert_trees_all_close(twice, 2 * jax.grad(loss)(kernel), rtol=0.02, atol=0.5)
    stacked = jax.vmap(f, in_axes=(None, 0))(x, np.stack([kernel, 2 * kernel]))
    chex.assert_trees_all_equal(stacked[0], f(x, kernel))
    chex.assert_trees_all_equal(f(x, kernel), conv(x, kernel, kernel_dtype="bfloat16", impl="lax"))
    chex.assert_trees_all_equal(
        dense(x[0, 0], kernel[0, 0], kernel_dtype="bfloat16"),
        dense(x[0, 0], kernel[0, 0].astype("bfloat16")),
    )


@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose", "Linear"])
def test_layers_keep_their_parameters_gradients_wide(layer, normal):
    make = {
        "Conv": lambda: nn.Conv(3, 4, (3, 3), dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
        "ConvTranspose": lambda: nn.ConvTranspose(
            3, 4, (3, 3), dtype=jnp.bfloat16, rngs=nnx.Rngs(0)
        ),
        "Linear": lambda: nn.Linear(3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
    }[layer]()
    x = normal((2, 6, 6, 3), "float32")

    @nnx.jit
    def result_and_gradient(layer):
        gradient = nnx.grad(lambda layer: jnp.sum(layer(x).astype("float32") ** 2))(layer)
        return layer(x), gradient

    y, gradient = result_and_gradient(make)
    assert y.dtype == jnp.bfloat16
    for leaf in map(np.asarray, jax.tree.leaves(gradient)):
        assert leaf.dtype == np.float32
        assert np.any(leaf != leaf.astype(jnp.bfloat16).astype(np.float32))


BAD_CALLS = {
    "mixed": ({}, "operands must have one dtype"),
    "not that of x": ({"kernel_dtype": "float32"}, "x has bfloat16, kernel_dtype has float32"),
    "integer": ({"kernel_dtype": "int8"}, "got int8 for a kernel of dtype float32"),
    "no dtype": ({"kernel_dtype": "narrow"}, "kernel_dtype must be a dtype, got .narrow."),
    "narrower result": (
        {"kernel_dtype": "bfloat16", "preferred_element_type": "int8"},
        "preferred_element_type must not be narrower",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.parametrize("function", [conv, conv_transpose], ids=["conv", "conv_transpose"])
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake, function):
    options, message = BAD_CALLS[mistake]
    x, kernel = jnp.ones((1, 4, 4, 2), "bfloat16"), jnp.ones((2, 2, 2, 2), "float32")
    with pytest.raises(TypeError, match=message) as caught:
        function(x, kernel, **options)
    assert str(caught.value).startswith(f"{function.__name__}: ")


@pytest.mark.usefixtures("no_type_checker")
def test_kernel_may_not_be_narrower_than_its_products():
    x, kernel = jnp.ones((1, 4, 4, 2), "float32"), jnp.ones((2, 2, 2, 2), "bfloat16")
    with pytest.raises(TypeError, match="kernel_dtype must not be wider than the kernel"):
        conv(x, kernel, kernel_dtype="float32")
