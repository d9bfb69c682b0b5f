"""`unfold` and `fold` against their definition, each other and the convolution.

Covers jaxconv/algorithms/shared/_unfolding.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import conv, fold, reference, unfold, verify
from tests.oracles import together

pytestmark = pytest.mark.usefixtures("float64")

# Spatial shape, window, and the other options.
CASES = [
    ((7,), 3, {}),
    ((8,), 3, {"strides": 2, "padding": 1, "window_dilation": 2}),
    ((5, 6), (2, 3), {"strides": (2, 1), "padding": ((1, 0), (0, 2))}),
    ((7, 5), 3, {"strides": 3, "padding": "SAME"}),
    ((6, 7), (1, 2), {"window_dilation": (1, 3)}),
    ((4, 3, 5), (2, 1, 3), {"strides": (1, 2, 2), "padding": "SAME_LOWER"}),
    ((2, 3, 2, 3), 2, {}),
]


@pytest.mark.parametrize(("size", "window", "options"), CASES, ids=str)
def test_definition_transpose_and_derivatives(size, window, options, normal):
    x = normal((2, *size, 3))

    def f(x):
        return unfold(x, window, **options)

    y_bar = normal(jax.eval_shape(f, x).shape)
    back = lambda y: fold(y, window, output_size=size, **options)  # noqa: E731
    y, x_bar, folded, hessian, y_bar_again, batch = together(
        [
            (f, x),
            (lambda x, y_bar: jax.vjp(f, x)[1](y_bar)[0], x, y_bar),
            (back, y_bar),
            (lambda x: jax.jvp(jax.grad(lambda x: jnp.sum(f(x) ** 2)), (x,), (x,))[1], x),
            (lambda x: jax.vjp(back, y_bar)[1](x)[0], x),
            (jax.vmap(f, 1, 1), jnp.stack([x, 2 * x], 1)),
        ]
    )
    expected = reference.fold(np.asarray(y_bar), size, window, **options)
    np.testing.assert_array_equal(y, reference.unfold(np.asarray(x), window, **options))
    np.testing.assert_array_equal(y_bar_again, y)
    np.testing.assert_allclose(folded, expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(x_bar, folded)
    np.testing.assert_allclose(
        hessian, 2 * reference.fold(np.asarray(y), size, window, **options), rtol=1e-14
    )
    np.testing.assert_array_equal(batch[:, 1], 2 * y)


def test_the_verifier_agrees(normal):
    options = {"window_shape": (2, 3), "strides": (2, 1), "padding": 1}
    verify.assert_gradients(lambda x: unfold(x, **options), (normal((1, 5, 4, 2)),), linear_in=0)
    patches = unfold(normal((1, 5, 4, 2)), **options)
    verify.assert_gradients(
        lambda y: fold(y, output_size=(5, 4), **options), (patches,), linear_in=0
    )


def test_a_convolution_is_a_product_with_the_patches(normal):
    x, kernel = normal((2, 7, 6, 3)), normal((3, 2, 3, 4))
    options = {"strides": 2, "padding": "SAME"}
    product = unfold(x, (3, 2), **options) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(product, conv(x, kernel, **options), rtol=1e-12, atol=1e-12)


def test_a_fold_divided_by_its_overlaps_gives_the_map_back(normal):
    x = normal((1, 9, 8, 2))
    count = fold(unfold(jnp.ones_like(x), 3), 3)
    np.testing.assert_allclose(fold(unfold(x, 3), 3) / count, x, rtol=1e-14)


def test_dtypes():
    for dtype in ("bfloat16", "float16", "int8", "complex64"):
        x = jnp.ones((1, 600, 1), dtype)
        assert unfold(x, 2).dtype == dtype
    overlapping = fold(jnp.ones((1, 600, 300), jnp.bfloat16), 300)
    assert overlapping[0, 450, 0] == 300  # a bfloat16 sum of ones stops at 256


BAD_CALLS = {
    "rank": (lambda x: unfold(x[0, 0], 2), ValueError, r"unfold: x must be \(n, \*spatial, c\)"),
    "window": (lambda x: unfold(x, 9), ValueError, "unfold: the window covers 9"),
    "stride": (lambda x: unfold(x, 2, 0), ValueError, "unfold: strides"),
    "padding": (lambda x: unfold(x, 2, padding=-1), ValueError, "unfold: padding must not be neg"),
    "dtype": (lambda x: unfold(x > 0, 2), TypeError, "unfold: x must hold numbers, got dtype bool"),
    "taps": (lambda x: fold(x, 3), ValueError, "fold: the last axis of patches .* the 9 taps"),
    "size": (
        lambda x: fold(x, 2, output_size=(4, 4)),
        ValueError,
        r"fold: a map of output_size \(4, 4\) would be unfolded to \(3, 3\), but patches has",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 7, 6, 4)))
