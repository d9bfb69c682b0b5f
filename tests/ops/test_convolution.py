"""`conv`, `conv_input_vjp` and `conv_kernel_vjp` against the definition, in every mode.

The expected values are the NumPy loops of `jaxconv.reference`. Each test compiles one program that
runs all of its cases.

Covers jaxconv/ops/_form.py, jaxconv/ops/_compile.py, jaxconv/ops/_rotation.py,
jaxconv/ops/_batching.py, jaxconv/ops/_textbook.py.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import conv, conv_input_vjp, conv_kernel_vjp, reference, rotate_kernel
from tests.oracles import (
    assert_contractions,
    assert_within_rounding,
    covering_pairs,
    lax_conv,
    three_contractions,
    together,
)

pytestmark = pytest.mark.usefixtures("float64")

# Spatial size, window and options. The sizes of all axes differ.
GEOMETRIES = {
    "one pixel": ((1,), (1,), {}),
    "one axis": (
        (9,),
        (3,),
        {"strides": 2, "padding": "SAME", "kernel_dilation": 2, "feature_group_count": 2},
    ),
    "one axis, padded on one side": (
        (8,),
        (4,),
        {"strides": 3, "padding": ((3, 0),), "input_dilation": 2, "kernel_dilation": 2},
    ),
    "plain": ((7, 6), (3, 2), {}),
    "reversed": ((7, 6), (3, 2), {"flip_kernel": True}),
    "full": ((7, 6), (3, 2), {"padding": "FULL", "feature_group_count": 2}),
    "same": ((7, 6), (3, 2), {"strides": (2, 3), "padding": "SAME"}),
    "same, lower": (
        (7, 6),
        (3, 4),
        {"strides": (3, 2), "padding": "SAME_LOWER", "feature_group_count": 2},
    ),
    "dilated": ((7, 6), (3, 2), {"strides": 2, "kernel_dilation": (1, 2)}),
    "all options": (
        (5, 4),
        (3, 2),
        {
            "strides": (2, 1),
            "padding": ((2, 1), (0, 3)),  # an odd low side would meet zeros only
            "input_dilation": (2, 3),
            "kernel_dilation": (2, 1),
            "feature_group_count": 2,
        },
    ),
    "cropped": ((7, 8), (3, 3), {"padding": ((-1, 2), (-2, -1))}),
    "side by side": ((8, 6), (4, 3), {"strides": (4, 3)}),
    "pointwise": ((6, 6), (1, 1), {"strides": 2, "feature_group_count": 4}),
    "three axes": ((4, 5, 3), (2, 3, 2), {"padding": "SAME"}),
    "three axes, all options": (
        (4, 5, 3),
        (2, 3, 2),
        {
            "strides": (2, 1, 2),
            "padding": "FULL",
            "kernel_dilation": (1, 2, 1),
            "feature_group_count": 2,
            "flip_kernel": True,
        },
    ),
    "three axes, explicit padding": (
        (3, 4, 3),
        (2, 2, 3),
        {
            "strides": (1, 2, 1),
            "padding": ((1, 0), (0, 2), (2, 1)),
            "input_dilation": (2, 1, 1),
        },
    ),
}

# One geometry for each difficulty, for the tests that compile much for each of them.
HARD = ["all options", "cropped", "one axis", "three axes, all options"]


class Case(NamedTuple):
    """A geometry's options, with operands to go with them."""

    options: dict[str, Any]
    x: np.ndarray
    kernel: np.ndarray
    y_bar: np.ndarray


def case_of(spatial, window, options) -> Case:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *spatial, 4))
    kernel = rng.normal(size=(*window, 4 // options.get("feature_group_count", 1), 8))
    y = reference.conv(x, kernel, **options)
    return Case(options, x, kernel, rng.normal(size=y.shape))


CASES = {name: case_of(*geometry) for name, geometry in GEOMETRIES.items()}


def all_functions(options, x, kernel, y_bar):
    """The three contractions by `jax.vjp`, and the two derivatives by their own functions."""
    return (
        *three_contractions(partial(conv, **options), x, kernel, y_bar),
        conv_input_vjp(y_bar, kernel, x.shape, **options),
        conv_kernel_vjp(x, y_bar, kernel.shape, **options),
    )


def check_against_the_definition(cases: dict[Any, Case], impl=None) -> None:
    calls = [
        (partial(all_functions, options | {"impl": impl}), *arrays)
        for options, *arrays in cases.values()
    ]
    for (name, case), (*by_vjp, x_bar, k_bar) in zip(cases.items(), together(calls), strict=True):
        options, *arrays = case
        assert_contractions(by_vjp, *arrays, **options, name=name)
        chex.assert_trees_all_equal((x_bar, k_bar), tuple(by_vjp[1:]))


# The others are close to one of these, or to a row of the pairs of options below.
SAMPLE = [
    *("one pixel", "one axis, padded on one side", "reversed", "same, lower", "all options"),
    *("cropped", "side by side", "pointwise", "three axes"),
]


@pytest.mark.parametrize(
    "names",
    [SAMPLE, pytest.param([*CASES], marks=pytest.mark.exhaustive)],
    ids=["sample", "all"],
)
def test_equals_the_definition(names):
    check_against_the_definition({name: CASES[name] for name in names})


@pytest.mark.parametrize("impl", ["textbook", "lax"])
def test_other_implementations_equal_the_definition(impl):
    check_against_the_definition({name: CASES[name] for name in HARD}, impl)


@pytest.mark.exhaustive
def test_textbook_equals_the_definition_everywhere():
    check_against_the_definition(CASES, "textbook")


PADDINGS = {"cropped": ((2, -1), (-2, 4), (0, 1))}
FACTORS = {
    "rank": (1, 2, 3),
    "padding": ("SAME", "FULL", "cropped"),
    "strides": (1, 2),
    "input_dilation": (1, 2),
    "kernel_dilation": (1, 2),
    "feature_group_count": (1, 2),
    "flip_kernel": (False, True),
}


def combined(rows) -> dict[Any, Case]:
    cases = {}
    for row in rows:
        rank, *values = row
        options = dict(zip(list(FACTORS)[1:], values, strict=True))
        if options["padding"] in PADDINGS:
            options["padding"] = PADDINGS[options["padding"]][:rank]
        cases[row] = case_of((6, 5, 4)[:rank], (2, 3, 2)[:rank], options)
    return cases


def test_every_pair_of_options_equals_the_definition():
    check_against_the_definition(combined(covering_pairs(*FACTORS.values())))


def test_no_case_is_made_of_zeros():
    """With the same spacing on all three grids, an odd padding lets pixels meet no tap."""
    for name, case in (CASES | combined(covering_pairs(*FACTORS.values()))).items():
        assert reference.conv(case.x, case.kernel, **case.options).any(), name


@pytest.mark.exhaustive
@pytest.mark.parametrize("padding", FACTORS["padding"])
@pytest.mark.parametrize("rank", FACTORS["rank"])
def test_every_combination_of_options_equals_the_definition(rank, padding):
    rows = itertools.product((rank,), (padding,), *list(FACTORS.values())[2:])
    check_against_the_definition(combined(rows))


def lax_version(case: Case):
    """The same convolution by lax, whose derivatives are JAX's."""
    options = {"strides": 1, "padding": "VALID", **case.options}
    groups, flip = options.pop("feature_group_count", 1), options.pop("flip_kernel", False)
    if options["padding"] == "FULL":
        dilations = np.broadcast_to(options.get("kernel_dilation", 1), case.kernel.ndim - 2)
        reach = [int(d * (r - 1)) for d, r in zip(dilations, case.kernel.shape, strict=False)]
        options["padding"] = [(last, last) for last in reach]
    spatial = tuple(range(case.kernel.ndim - 2))

    def f(x, kernel):
        return lax_conv(x, jnp.flip(kernel, spatial) if flip else kernel, **options, groups=groups)

    return f


def scalar_of(f):
    """A scalar function whose derivatives of any order involve those of `f`."""
    return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))


# Each mode computes, for f(x, kernel), arrays that depend on the derivatives of f.
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

# The mode that needs every rule of every contraction.
DEEP = "third_order"


def test_modes_equal_lax():
    """Every mode on one geometry, and the deep one on another."""
    check_modes([*((HARD[0], mode) for mode in MODES), (HARD[2], DEEP)])


@pytest.mark.exhaustive
def test_deep_mode_equals_lax_everywhere():
    check_modes([(name, DEEP) for name in HARD])


def check_modes(rows):

    def calls(function):
        for name, mode in rows:
            _, x, kernel, y_bar = CASES[name]
            yield partial(MODES[mode], function(CASES[name])), x / 4, kernel / 4, y_bar

    ours = together(list(calls(lambda case: partial(conv, **case.options))))
    theirs = together(list(calls(lax_version)))
    for (name, mode), actual, expected in zip(rows, ours, theirs, strict=True):
        chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
        case = CASES[name]
        # Nested derivatives have no closed bound; each of at most three contractions adds its own.
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            scale = np.abs(b).max() + np.abs(case.y_bar).max()
            terms = 3 * (case.x.size + case.kernel.size)
            assert_within_rounding(a, b, scale, terms, f"{name}, {mode}")


# The axis along which x, kernel and y_bar are batched.
BATCHED = {
    "x": (0, None, None),
    "k": (None, 1, None),
    "y": (None, None, 2),
    "xk": (0, 0, None),
    "xy": (-1, None, 0),
    "ky": (None, 0, 1),
    "xky": (1, 0, 0),
}


def test_vmap_equals_a_loop():
    """Every choice of batched operands with all options; all operands in the other geometries."""
    rows = [(HARD[0], which) for which in BATCHED] + [(name, "xky") for name in HARD[1:]]
    check_vmap(rows)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", HARD)
def test_vmap_of_every_choice_equals_a_loop(name):
    check_vmap([(name, which) for which in BATCHED])


def check_vmap(rows):
    calls, loops = [], []
    for name, which in rows:
        options, *arrays = CASES[name]
        axes = BATCHED[which]
        batch = [
            [a] * 3 if axis is None else [a, -a, np.sin(a)]
            for a, axis in zip(arrays, axes, strict=True)
        ]
        operands = [
            a if axis is None else np.moveaxis(np.stack(each), 0, axis)
            for a, axis, each in zip(arrays, axes, batch, strict=True)
        ]
        f = partial(three_contractions, partial(conv, **options))
        calls.append((jax.vmap(f, axes), *operands))
        loops.append((options, list(zip(*batch, strict=True))))
    for row, actual, (options, examples) in zip(rows, together(calls), loops, strict=True):
        for i, example in enumerate(examples):
            assert_contractions([a[i] for a in actual], *example, **options, name=f"{row}, {i}")


@pytest.mark.parametrize("name", HARD)
def test_derivatives_are_the_same_three_primitives(name):
    """The derivatives of each contraction are the other two, not only equal to them in value."""
    options, x, kernel, y_bar = CASES[name]

    def primitives(f, *args):
        names = {str(equation.primitive) for equation in jax.make_jaxpr(f)(*args).eqns}
        return {name for name in names if name.startswith(("jaxconv", "conv_general"))}

    def of_input(y, kernel):
        return conv_input_vjp(y, kernel, x.shape, **options)

    def of_kernel(x, y):
        return conv_kernel_vjp(x, y, kernel.shape, **options)

    three = set.union(
        primitives(partial(conv, **options), x, kernel),
        primitives(of_input, y_bar, kernel),
        primitives(of_kernel, x, y_bar),
    )
    assert len(three) == 3
    for f, operands in ((of_input, (y_bar, kernel)), (of_kernel, (x, y_bar))):
        gradients = jax.grad(lambda *a, f=f: jnp.sum(f(*a) ** 2), (0, 1))
        assert primitives(gradients, *operands) == three


def test_reversed_kernel_is_the_convolution_of_mathematics(normal):
    x, kernel = normal((1, 9, 1)), normal((4, 1, 1))
    y = conv(x, kernel, padding="FULL", flip_kernel=True)
    expected = np.convolve(x[0, :, 0], kernel[:, 0, 0])
    assert_within_rounding(y[0, :, 0], expected, np.abs(x).sum() * np.abs(kernel).max(), 4)


def test_input_gradient_is_the_full_convolution_with_the_rotated_kernel(normal):
    """The sentence that the library is built on, written with its own functions."""
    x, kernel, y_bar = normal((2, 7, 6, 3)), normal((3, 2, 3, 5)), normal((2, 5, 5, 5))

    @jax.jit
    def both(y_bar, kernel):
        full = conv(y_bar, rotate_kernel(kernel), padding="FULL")
        return jax.vjp(lambda x: conv(x, kernel), x)[1](y_bar)[0], full

    scale = both(np.abs(y_bar), np.abs(kernel))[1]
    assert_within_rounding(*both(y_bar, kernel), scale, kernel.size)


def test_rotate_kernel_is_an_involution(normal):
    kernel = normal((3, 2, 4, 5))
    assert rotate_kernel(kernel).shape == (3, 2, 5, 4)
    assert rotate_kernel(kernel)[0, 1, 2, 3] == kernel[2, 0, 3, 2]
    chex.assert_trees_all_equal(rotate_kernel(rotate_kernel(kernel)), kernel)


@pytest.mark.parametrize("numbers", [("NCHW", "OIHW", "NCHW"), ("HWNC", "IHWO", "CNHW")], ids=str)
def test_dimension_numbers(numbers, normal):
    arrays = [np.asarray(normal(s)) for s in ((2, 7, 6, 4), (3, 2, 4, 5), (2, 4, 5, 5))]
    options = {"strides": (2, 1), "padding": ((1, 1), (0, 0))}
    own = ("NHWC", "HWIO", "NHWC")
    orders = [[a.index(letter) for letter in b] for a, b in zip(own, numbers, strict=True)]
    laid_out = [a.transpose(order) for a, order in zip(arrays, orders, strict=True)]
    f = partial(all_functions, options | {"dimension_numbers": numbers})
    ((*by_vjp, x_bar, k_bar),) = together([(f, *laid_out)])
    chex.assert_trees_all_equal((x_bar, k_bar), tuple(by_vjp[1:]))
    order_of = dict(zip("xky", orders, strict=True))
    back = [a.transpose(np.argsort(order_of[s])) for a, s in zip(by_vjp, "yxk", strict=True)]
    assert_contractions(back, *arrays, **options)


def test_preferred_element_type(normal):
    x, kernel = normal((2, 9, 8, 3), jnp.bfloat16), normal((3, 2, 3, 4), jnp.bfloat16)
    f = partial(conv, preferred_element_type=jnp.float32)
    y, x_bar, k_bar = jax.eval_shape(
        partial(three_contractions, f), x, kernel, normal((2, 7, 7, 4), "float32")
    )
    assert (y.dtype, x_bar.dtype, k_bar.dtype) == (jnp.float32, jnp.bfloat16, jnp.bfloat16)


@pytest.mark.parametrize("impl", [None, "lax"])
def test_empty_batch(impl, normal):
    x, kernel = normal((0, 7, 6, 4)), normal((3, 2, 4, 5))
    f = partial(conv, impl=impl)
    y, x_bar, k_bar = three_contractions(f, x, kernel, jnp.zeros((0, 5, 5, 5)))
    assert y.shape == (0, 5, 5, 5)
    assert x_bar.shape == x.shape
    assert not k_bar.any()


BAD_CALLS = {
    "list for an array": (lambda x, k: conv([1.0], k), TypeError, "conv: x must be an array"),
    "bool operand": (lambda x, k: conv(x > 0, k), TypeError, "dtype bool"),
    "rank": (lambda x, k: conv(x[0], k), ValueError, "same rank"),
    "channels": (lambda x, k: conv(x[..., :3], k), ValueError, "c_in = 4 channels but x has c = 3"),
    "window too large": (lambda x, k: conv(x[:, :2], k), ValueError, "covers 3 positions"),
    "zero stride": (lambda x, k: conv(x, k, 0), ValueError, "strides must be at least 1"),
    "negative stride": (lambda x, k: conv(x, k, (1, -2)), ValueError, "strides must be at least 1"),
    "too many strides": (lambda x, k: conv(x, k, (1, 1, 1)), ValueError, "strides needs 2 values"),
    "float stride": (lambda x, k: conv(x, k, 1.5), TypeError, "strides must be an integer"),
    "zero dilation": (lambda x, k: conv(x, k, kernel_dilation=0), ValueError, "kernel_dilation"),
    "groups": (lambda x, k: conv(x, k[:, :, :2], feature_group_count=3), ValueError, "3 groups"),
    "groups of outputs": (
        lambda x, k: conv(x, k[:, :, :2, :3], feature_group_count=2),
        ValueError,
        "must divide the kernel's c_out = 3",
    ),
    "mixed dtypes": (
        lambda x, k: conv(x, np.ones(k.shape, int)),
        TypeError,
        "x has float64, kernel has int64",
    ),
    "unknown padding": (lambda x, k: conv(x, k, 1, "SAMEISH"), ValueError, "got 'SAMEISH'"),
    "short padding": (lambda x, k: conv(x, k, 1, ((1, 1),)), ValueError, "each of 2 spatial axes"),
    "padding of floats": (lambda x, k: conv(x, k, 1, (0.5, 1)), TypeError, "pairs of integers"),
    "unknown layout": (
        lambda x, k: conv(x, k, dimension_numbers=("NHWC", "HWIO")),
        TypeError,
        "conv: dimension_numbers",
    ),
    "unknown impl": (lambda x, k: conv(x, k, impl="fastest"), ValueError, "impl must be one of"),
    "cotangent's shape": (
        lambda x, k: conv_input_vjp(x, k[..., :4], (2, 8, 8, 4)),
        ValueError,
        "y_bar must have the shape of the convolution's output",
    ),
    "kernel_shape": (
        lambda x, k: conv_kernel_vjp(x, x, 3),
        ValueError,
        "kernel_shape must be a shape",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    """The message names the function, what was expected and what came."""
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message) as caught:
        call(np.ones((2, 7, 6, 4)), np.ones((3, 2, 4, 5)))
    assert str(caught.value).startswith("conv")
