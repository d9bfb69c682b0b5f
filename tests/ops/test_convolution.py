"""The triangle against the definition, lax's autodiff and itself, in every mode."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv import conv, conv_input_vjp, conv_kernel_vjp, reference, rotate_kernel
from tests.oracles import assert_within_rounding, lax_conv, three_corners, with_magnitudes

pytestmark = pytest.mark.usefixtures("float64")

# (spatial, window, strides, padding, input_dilation, kernel_dilation, groups); all sizes unequal.
GEOMETRIES = [
    ((1,), (1,), 1, "VALID", 1, 1, 1),
    ((9,), (3,), 2, "SAME", 1, 2, 2),
    ((8,), (4,), 3, ((3, 0),), 2, 2, 1),
    ((7, 6), (3, 2), 1, "VALID", 1, 1, 1),
    ((7, 6), (3, 2), 1, "FULL", 1, 1, 2),
    ((7, 6), (3, 2), (2, 3), "SAME", 1, 1, 1),
    ((7, 6), (3, 4), (3, 2), "SAME_LOWER", 1, 1, 2),
    ((7, 6), (3, 2), 2, "VALID", 1, (1, 2), 1),
    ((5, 4), (3, 2), (2, 1), ((1, 2), (0, 3)), (2, 3), (2, 1), 2),
    ((7, 8), (3, 3), 1, ((-1, 2), (-2, -1)), 1, 1, 1),
    ((8, 6), (4, 3), (4, 3), "VALID", 1, 1, 1),
    ((6, 6), (1, 1), 2, "VALID", 1, 1, 4),
    ((4, 5, 3), (2, 3, 2), 1, "SAME", 1, 1, 1),
    ((4, 5, 3), (2, 3, 2), (2, 1, 2), "FULL", 1, (1, 2, 1), 2),
    ((3, 4, 3), (2, 2, 3), (1, 2, 1), ((1, 0), (0, 2), (2, 1)), (2, 1, 1), 1, 1),
]


# One of each difficulty, for the tests that take seconds a geometry to compile: all options at
# once, cropping, one axis, three axes.
HARD = [GEOMETRIES[8], GEOMETRIES[9], GEOMETRIES[1], GEOMETRIES[13]]


def named(parameter):
    if not isinstance(parameter, tuple):
        return str(parameter)
    return "-".join(str(part).replace(" ", "") for part in parameter)


@pytest.fixture(params=GEOMETRIES, ids=named)
def case(request, normal):
    """A geometry's options, and `x`, `kernel` and `y_bar` to go with them."""
    return make_case(request.param, normal)


def make_case(geometry, normal):
    spatial, window, strides, padding, e, d, groups = geometry
    x, kernel = normal((2, *spatial, 4)), normal((*window, 4 // groups, 8))
    options = {
        "strides": strides,
        "padding": padding,
        "input_dilation": e,
        "kernel_dilation": d,
        "feature_group_count": groups,
    }
    y = jax.eval_shape(partial(conv, **options), x, kernel)
    return options, x, kernel, normal(y.shape)


def explicit(options, x, kernel):
    """The padding of a case as lax and the reference take it, and as they name the options."""
    e, d = options["input_dilation"], options["kernel_dilation"]
    rank = x.ndim - 2
    geometry = jaxconv._geometry.convolution_geometry(
        "test", x.shape[1:-1], kernel.shape[:-2], options["strides"], options["padding"], e, d, 1
    )
    assert geometry.rank == rank
    return {**options, "padding": geometry.padding}


def lax_version(options, x, kernel):
    options = explicit(options, x, kernel)
    groups = options.pop("feature_group_count")
    return partial(lax_conv, **options, groups=groups)


@pytest.mark.parametrize(
    ("geometry", "impl"),  # "lax" is lax, so little can be wrong
    [(geometry, impl) for geometry in GEOMETRIES for impl in (None, "textbook")]
    + [(geometry, "lax") for geometry in HARD],
    ids=named,
)
def test_corners_equal_lax_autodiff(geometry, impl, normal):
    options, x, kernel, y_bar = make_case(geometry, normal)
    theirs, ours = lax_version(options, x, kernel), partial(conv, **options, impl=impl)
    expected, scale = with_magnitudes(partial(three_corners, theirs), x, kernel, y_bar)
    actual = jax.jit(partial(three_corners, ours))(x, kernel, y_bar)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for name, a, b, magnitude in zip(("y", "x_bar", "k_bar"), actual, expected, scale, strict=True):
        assert_within_rounding(a, b, magnitude, x.size + kernel.size, name)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "FULL", "cropped"])
def test_every_combination_equals_lax_autodiff(rank, strides, padding, normal):
    """With dilations of input and kernel, and groups: one program, all its corners.

    In two dimensions all of them; in one and three every pair of two options' values.
    """
    size, window = (6, 5, 4)[:rank], (2, 3, 2)[:rank]
    triples = list(itertools.product((1, 2), repeat=3))
    if rank != 2:  # two that differ in all, other ones for each stride and padding
        first = {"SAME": 0, "FULL": 1, "cropped": 2}[padding] + strides - 1
        triples = [triples[first], triples[-1 - first]]
    pads = ((2, -1), (-1, 3), (1, 1))[:rank] if padding == "cropped" else padding
    cases = []
    for e, d, groups in triples:
        options = {"strides": strides, "padding": pads, "input_dilation": e}
        options |= {"kernel_dilation": d, "feature_group_count": groups}
        x, kernel = normal((2, *size, 4)), normal((*window, 4 // groups, 6))
        shape = jax.eval_shape(partial(conv, **options), x, kernel).shape
        theirs = lax_version(options, x, kernel)
        cases.append((partial(conv, **options), theirs, (x, kernel, normal(shape))))

    def run(which, operands):
        return [three_corners(case[which], *o) for case, o in zip(cases, operands, strict=True)]

    operands = [case[2] for case in cases]
    results = jax.jit(partial(run, 0))(operands)
    theirs = jax.jit(partial(run, 1))
    expected, scale = theirs(operands), theirs(jax.tree.map(np.abs, operands))
    for of_one, *triples in zip(operands, results, expected, scale, strict=True):
        terms = sum(a.size for a in of_one)
        for actual, wanted, magnitude in zip(*triples, strict=True):
            assert_within_rounding(actual, wanted, magnitude, terms)


def test_corners_equal_the_definition(case):
    options, x, kernel, y_bar = case
    options = explicit(options, x, kernel)
    theirs = lax_version(options, x, kernel)
    _, scale = with_magnitudes(partial(three_corners, theirs), x, kernel, y_bar)
    terms = x.size + kernel.size
    numpy = [np.asarray(a) for a in (x, kernel, y_bar)]
    for name, actual, expected, magnitude in (
        ("y", conv(x, kernel, **options), reference.conv(numpy[0], numpy[1], **options), scale[0]),
        (
            "x_bar",
            conv_input_vjp(y_bar, kernel, x.shape, **options),
            reference.conv_input_vjp(numpy[2], numpy[1], x.shape, **options),
            scale[1],
        ),
        (
            "k_bar",
            conv_kernel_vjp(x, y_bar, kernel.shape, **options),
            reference.conv_kernel_vjp(numpy[0], numpy[2], kernel.shape, **options),
            scale[2],
        ),
    ):
        assert_within_rounding(actual, expected, magnitude, terms, name)


@pytest.mark.parametrize("flip_kernel", [False, True])
def test_adjoint_identities(case, flip_kernel):
    """One number, T(x, k, y), from each of the three corners."""
    options, x, kernel, y_bar = case
    options = {**options, "flip_kernel": flip_kernel}
    y = np.vdot(conv(x, kernel, **options), y_bar)
    bound = np.vdot(conv(np.abs(x), np.abs(kernel), **options), np.abs(y_bar))
    terms = x.size * kernel.size
    x_bar = conv_input_vjp(y_bar, kernel, x.shape, **options)
    k_bar = conv_kernel_vjp(x, y_bar, kernel.shape, **options)
    assert_within_rounding(np.vdot(x_bar, x), y, bound, terms)
    assert_within_rounding(np.vdot(k_bar, kernel), y, bound, terms)


def scalar_of(f):
    """A scalar function whose derivatives of any order involve those of `f`."""
    return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))


# Each mode turns f(x, kernel) into numbers that depend on its derivatives.
MODES = {
    "jvp": lambda f, x, k, y_bar: jax.jvp(f, (x, k), (jnp.cos(x), jnp.sin(k))),
    "linearize": lambda f, x, k, y_bar: jax.linearize(f, x, k)[1](jnp.cos(x), jnp.sin(k)),
    "linear_transpose_x": lambda f, x, k, y_bar: jax.linear_transpose(lambda x: f(x, k), x)(y_bar),
    "linear_transpose_k": lambda f, x, k, y_bar: jax.linear_transpose(lambda k: f(x, k), k)(y_bar),
    "jacfwd": lambda f, x, k, y_bar: jax.jacfwd(f, argnums=1)(x, k),
    "reverse_over_reverse": lambda f, x, k, y_bar: jax.grad(
        lambda x: jnp.sum(jax.grad(scalar_of(f), 1)(x, k) ** 2)
    )(x),
    "forward_over_reverse": lambda f, x, k, y_bar: jax.jvp(
        lambda x, k: jax.grad(scalar_of(f), (0, 1))(x, k), (x, k), (jnp.cos(x), jnp.sin(k))
    ),
    "reverse_over_forward": lambda f, x, k, y_bar: jax.grad(
        lambda k: jnp.sum(jax.jvp(lambda x: f(x, k), (x,), (x,))[1] ** 2)
    )(k),
    "third_order": lambda f, x, k, y_bar: jax.jvp(
        jax.grad(lambda x: jnp.sum(jax.grad(scalar_of(f), 1)(x, k) ** 2)), (x,), (x,)
    ),
    "jit": lambda f, x, k, y_bar: jax.jit(jax.grad(scalar_of(f), (0, 1)))(x, k),
    "checkpoint": lambda f, x, k, y_bar: jax.grad(jax.checkpoint(scalar_of(f)), (0, 1))(x, k),
    "cond": lambda f, x, k, y_bar: jax.grad(
        lambda x, k: lax.cond(jnp.sum(x) > 0, scalar_of(f), lambda x, k: -scalar_of(f)(x, k), x, k),
        (0, 1),
    )(x, k),
    "scan": lambda f, x, k, y_bar: jax.grad(
        lambda x, k: lax.scan(
            lambda s, scale: (s + scalar_of(f)(x, scale * k), s), 0.0, y_bar[0, 0].ravel()[:2]
        )[0],
        (0, 1),
    )(x, k),
}


# The modes that need each rule of every corner, and its batching; these on all hard geometries.
DEEP = ("third_order", "jacfwd")


@pytest.mark.parametrize(
    ("mode", "geometry"),
    [
        (mode, geometry)
        for mode in MODES
        for geometry in HARD
        if geometry is HARD[0] or mode in DEEP
    ],
    ids=named,
)
def test_modes_equal_lax(mode, geometry, normal):
    options, x, kernel, y_bar = make_case(geometry, normal)
    x, kernel = np.asarray(x) / 4, np.asarray(kernel) / 4
    ours, theirs = partial(conv, **options), lax_version(options, x, kernel)
    actual, expected = jax.jit(
        lambda *arrays: (MODES[mode](ours, *arrays), MODES[mode](theirs, *arrays))
    )(x, kernel, y_bar)
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    # Nested derivatives have no closed bound; each of at most three contractions adds its own.
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = np.abs(b).max() + np.abs(y_bar).max()
        assert_within_rounding(a, b, scale, 3 * (x.size + kernel.size), mode)


BATCHED = {
    "x": (0, None, None),
    "k": (None, 1, None),
    "y": (None, None, 2),
    "xk": (0, 0, None),
    "xy": (-1, None, 0),
    "ky": (None, 0, 1),
    "xky": (1, 0, 0),
}


@pytest.mark.parametrize(
    ("which", "geometry"),  # with groups and without; of the other ranks all operands
    [(which, geometry) for which in BATCHED for geometry in HARD[:2]]
    + [("xky", geometry) for geometry in HARD[2:]],
    ids=named,
)
def test_vmap_equals_lax(which, geometry, normal):
    options, x, kernel, y_bar = make_case(geometry, normal)
    axes = BATCHED[which]
    operands = [
        a if axis is None else np.moveaxis(np.stack([a, -a, np.sin(a)]), 0, axis)
        for a, axis in zip((x, kernel, y_bar), axes, strict=True)
    ]

    def corners(f):
        return jax.vmap(partial(three_corners, f), axes)

    actual = jax.jit(corners(partial(conv, **options)))(*operands)
    expected, scale = with_magnitudes(corners(lax_version(options, x, kernel)), *operands)
    for name, a, b, magnitude in zip(("y", "x_bar", "k_bar"), actual, expected, scale, strict=True):
        assert_within_rounding(a, b, magnitude, x.size + kernel.size, name)


def test_corners_are_closed_under_differentiation(case):
    """The transposes of each corner are the other two, not merely equal to them in value."""
    options, x, kernel, y_bar = case

    def primitives(f, *args):
        return {
            str(eqn.primitive)
            for eqn in jax.make_jaxpr(f)(*args).eqns
            if str(eqn.primitive).startswith(("jaxconv", "conv_general"))
        }

    grads = jax.grad(lambda y, k: jnp.sum(conv_input_vjp(y, k, x.shape, **options) * x), (0, 1))
    assert primitives(grads, y_bar, kernel) == {"jaxconv_x", "jaxconv_y", "jaxconv_k"}
    grads = jax.grad(
        lambda x, y: jnp.sum(conv_kernel_vjp(x, y, kernel.shape, **options) * kernel), (0, 1)
    )
    assert primitives(grads, x, y_bar) == {"jaxconv_x", "jaxconv_y", "jaxconv_k"}


def test_flip_kernel_is_the_convolution_of_mathematics(normal):
    x, kernel = normal((1, 9, 1)), normal((4, 1, 1))
    y = conv(x, kernel, padding="FULL", flip_kernel=True)
    expected = np.convolve(x[0, :, 0], kernel[:, 0, 0])
    assert_within_rounding(y[0, :, 0], expected, np.abs(x).sum() * np.abs(kernel).max(), 4)


def test_input_gradient_is_the_full_convolution_with_the_rotated_kernel(normal):
    """The sentence that the library is built on, written with its own functions."""
    x, kernel = normal((2, 7, 6, 3)), normal((3, 2, 3, 5))
    y, pull_back = jax.vjp(lambda x: conv(x, kernel), x)
    y_bar = normal(y.shape)
    full = conv(y_bar, rotate_kernel(kernel), padding="FULL")
    scale = conv(np.abs(y_bar), np.abs(rotate_kernel(kernel)), padding="FULL")
    assert_within_rounding(pull_back(y_bar)[0], full, scale, kernel.size)


def test_rotate_kernel_is_an_involution(normal):
    kernel = normal((3, 2, 4, 5))
    assert rotate_kernel(kernel).shape == (3, 2, 5, 4)
    assert rotate_kernel(kernel)[0, 1, 2, 3] == kernel[2, 0, 3, 2]
    chex.assert_trees_all_equal(rotate_kernel(rotate_kernel(kernel)), kernel)


@pytest.mark.parametrize("numbers", [("NCHW", "OIHW", "NCHW"), ("HWNC", "IHWO", "CNHW")], ids=str)
def test_dimension_numbers(numbers, normal):
    x, kernel = normal((2, 7, 6, 4)), normal((3, 2, 4, 5))
    y_bar = normal((2, 4, 5, 5))
    x_axes, k_axes, y_axes = ("NHWC".index, "HWIO".index, "NHWC".index)
    as_x = [x_axes(letter) for letter in numbers[0]]
    as_k = [k_axes(letter) for letter in numbers[1]]
    as_y = [y_axes(letter) for letter in numbers[2]]
    options = {"strides": (2, 1), "padding": ((1, 1), (0, 0))}
    laid_out = x.transpose(as_x), kernel.transpose(as_k), y_bar.transpose(as_y)
    f = partial(conv, dimension_numbers=numbers, **options)
    y, x_bar, k_bar = three_corners(f, *laid_out)
    expected = three_corners(partial(conv, **options), x, kernel, y_bar)
    chex.assert_trees_all_equal(y, expected[0].transpose(as_y))
    chex.assert_trees_all_equal(x_bar, expected[1].transpose(as_x))
    chex.assert_trees_all_equal(k_bar, expected[2].transpose(as_k))
    options["dimension_numbers"] = numbers
    direct = conv_input_vjp(laid_out[2], laid_out[1], laid_out[0].shape, **options)
    chex.assert_trees_all_equal(direct, x_bar)
    direct = conv_kernel_vjp(laid_out[0], laid_out[2], laid_out[1].shape, **options)
    chex.assert_trees_all_equal(direct, k_bar)


def test_preferred_element_type(normal):
    x, kernel = normal((2, 9, 8, 3)).astype(jnp.bfloat16), normal((3, 2, 3, 4)).astype(jnp.bfloat16)
    f = partial(conv, preferred_element_type=jnp.float32)
    y, pull_back = jax.vjp(f, x, kernel)
    assert y.dtype == jnp.float32
    assert [a.dtype for a in pull_back(y)] == [jnp.bfloat16, jnp.bfloat16]


def test_empty_batch(normal):
    x, kernel = normal((0, 7, 6, 4)), normal((3, 2, 4, 5))
    y, x_bar, k_bar = three_corners(conv, x, kernel, jnp.zeros((0, 5, 5, 5)))
    assert y.shape == (0, 5, 5, 5)
    assert x_bar.shape == x.shape
    assert not k_bar.any()
