"""conv_block against the four operations in a row, and what it keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import conv, conv_block, explain, max_pool, relu, tanh
from tests.oracles import together

ACTIVATIONS = {"relu": relu, "tanh": tanh, None: lambda x: x}
BLOCKS = {
    "side by side": ((2, 9, 8, 3), (3, 2, 3, 4), {"window_shape": 2}),
    "overlapping": (
        (2, 9, 8, 3),
        (3, 2, 3, 4),
        {"window_shape": 3, "pool_strides": 2, "pool_padding": 1},
    ),
    "all options": (
        (2, 9, 8, 4),
        (3, 2, 2, 4),
        {
            "window_shape": (2, 3),
            "strides": (1, 2),
            "padding": "SAME",
            "kernel_dilation": 2,
            "feature_group_count": 2,
            "flip_kernel": True,
        },
    ),
    "places that no window covers": (
        (2, 11, 12, 3),
        (2, 3, 3, 4),
        {"window_shape": (3, 2), "pool_strides": (4, 3), "strides": (1, 2), "padding": 1},
    ),
    "strides beyond the window, padded": (
        (2, 11, 12, 3),
        (2, 3, 3, 4),
        {"window_shape": 2, "pool_strides": 4, "pool_padding": ((1, 1), (0, 1)), "padding": "SAME"},
    ),
    "one more window on one axis": (
        (2, 8, 10, 3),
        (2, 3, 3, 4),
        {"window_shape": 2, "pool_strides": (3, 2), "pool_ceil_mode": True, "padding": (0, 1)},
    ),
    "one axis": ((2, 20, 3), (4, 3, 4), {"window_shape": 2}),
}


def in_a_row(x, kernel, bias, *, activation, window_shape, **options):
    """The composition in its usual order: activate, then pool."""
    pool = {
        "strides": options.pop("pool_strides", None),
        "padding": options.pop("pool_padding", "VALID"),
        "ceil_mode": options.pop("pool_ceil_mode", False),
    }
    a = conv(x, kernel, **options)
    return max_pool(ACTIVATIONS[activation](a + bias), window_shape, **pool)


@pytest.mark.usefixtures("float64")
def test_equals_the_four_in_a_row(normal):
    """Some blocks with relu, and each other activation in one."""
    some = ("overlapping", "places that no window covers")
    rows = [(block, "relu") for block in some]
    check_in_a_row([*rows, ("one axis", None), ("all options", "tanh")], normal)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_block_equals_the_four_in_a_row(activation, normal):
    check_in_a_row([(block, activation) for block in BLOCKS], normal)


def check_in_a_row(rows, normal):
    """Values and gradients of blocks, each with an activation."""

    def calls(f):
        for block, activation in rows:
            x_shape, kernel_shape, options = BLOCKS[block]
            of_one = partial(f, activation=activation, **options)

            def modes(x, kernel, bias, of_one=of_one):
                y, pull_back = jax.vjp(of_one, x, kernel, bias)
                return y, pull_back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

            yield (
                modes,
                *(np.asarray(normal(s)) for s in (x_shape, kernel_shape, kernel_shape[-1:])),
            )

    operands = list(calls(conv_block))
    theirs = [(f, *given) for (f, *_), (_, *given) in zip(calls(in_a_row), operands, strict=True)]
    for row, *both in zip(rows, together(operands), together(theirs), strict=True):
        for a, b in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=str(row))


def test_no_bias(normal):
    x, kernel = normal((2, 8, 8, 3), "float32"), normal((3, 3, 3, 4), "float32")
    zero = jnp.zeros(4)
    without = conv_block(x, kernel, window_shape=2)
    np.testing.assert_array_equal(without, conv_block(x, kernel, zero, window_shape=2))


def residual_bytes(f, *operands):
    """Bytes that the reverse pass of `f` holds besides its operands."""
    _, pull_back = jax.vjp(f, *operands)
    held = {id(a): a for a in jax.tree.leaves(pull_back)}
    given = {a.shape for a in operands}
    return sum(a.nbytes for a in held.values() if a.shape not in given)


def test_keeps_the_argmax_and_nothing_of_the_convolution(normal):
    x, kernel = normal((8, 28, 28, 1), "float32"), normal((5, 5, 1, 32), "float32")
    bias = normal((32,), "float32")
    pooled = 8 * 12 * 12 * 32
    ours = partial(conv_block, window_shape=2)
    # One byte, for the tap. It is -1 where the activation is not positive.
    assert residual_bytes(ours, x, kernel, bias) == pooled

    def with_lax(x, kernel, bias):
        layout = ("NHWC", "HWIO", "NHWC")
        a = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(
            jax.nn.relu(a + bias), -jnp.inf, jax.lax.max, window, window, "VALID"
        )

    assert residual_bytes(ours, x, kernel, bias) < residual_bytes(with_lax, x, kernel, bias) / 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"activation": "gelu"}, ValueError, "activation must be one of"),
        ({"bias": jnp.ones(3)}, ValueError, r"conv_block: bias must be \(c,\)"),
        ({"bias": jnp.ones(4, jnp.bfloat16)}, TypeError, "bias must have dtype float32"),
        ({"bias": [1.0]}, TypeError, "conv_block: bias must be an array"),
        ({"window_shape": 9}, ValueError, "window"),
        ({"impl": "fastest"}, ValueError, "impl must be one of"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("no_type_checker")
def test_errors(change, error, message):
    options = {"bias": jnp.ones(4), "window_shape": 2} | change
    with pytest.raises(error, match=message):
        conv_block(jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4)), **options)


def test_computes_no_place_that_the_pool_does_not_see(normal):
    x, kernel = normal((2, 12, 12, 1), "float32"), normal((3, 3, 1, 4), "float32")
    explanation = explain(partial(conv_block, window_shape=4), x, kernel, platform="cpu")
    (contraction,) = explanation.convolutions
    assert contraction.y_shape == (2, 8, 8, 4)  # of 10: two windows of 4
