"""The drop-in against `jax.lax.conv_general_dilated`, argument by argument."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import conv_general_dilated

pytestmark = pytest.mark.usefixtures("float64")

CALLS = {
    "defaults": ((4, 6, 7, 8), (8, 6, 3, 2), ((1, 1), "VALID"), {}),
    "positional": (
        (4, 6, 7, 8),
        (8, 3, 3, 2),
        ((2, 1), ((1, 2), (0, -1)), (2, 1), (1, 2), ("NCHW", "OIHW", "NCHW"), 2, 1),
        {},
    ),
    "channels last": (
        (4, 7, 8, 6),
        (3, 2, 6, 8),
        ((1, 2), "SAME"),
        {"dimension_numbers": ("NHWC", "HWIO", "NHWC")},
    ),
    "batch groups": ((4, 6, 7, 8), (8, 6, 3, 2), ((1, 1), "SAME"), {"batch_group_count": 2}),
    "batch groups channels last": (
        (4, 7, 8, 6),
        (3, 2, 6, 8),
        ((1, 2), "VALID"),
        {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "batch_group_count": 4},
    ),
    "no spatial axes": ((4, 6), (8, 6), ((), ()), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_equals_lax(name, normal):
    x_shape, k_shape, args, kwargs = CALLS[name]
    x, kernel = normal(x_shape), normal(k_shape)
    y, pull_back = jax.vjp(lambda x, k: conv_general_dilated(x, k, *args, **kwargs), x, kernel)
    theirs, their_pull_back = jax.vjp(
        lambda x, k: lax.conv_general_dilated(x, k, *args, **kwargs), x, kernel
    )
    chex.assert_trees_all_close(y, theirs, rtol=0, atol=1e-13)
    y_bar = normal(y.shape)
    chex.assert_trees_all_close(pull_back(y_bar), their_pull_back(y_bar), rtol=0, atol=1e-12)


def test_flax_takes_it(normal):
    def layer(function):
        return nnx.Conv(3, 4, (3, 3), conv_general_dilated=function, rngs=nnx.Rngs(0))

    x = normal((2, 6, 5, 3))
    ours, theirs = layer(jaxconv.conv_general_dilated), layer(lax.conv_general_dilated)

    def loss(layer):
        return jnp.sum(layer(x) ** 3)

    assert "jaxconv" in str(jax.make_jaxpr(lambda x: ours(x))(x))
    chex.assert_trees_all_close(
        nnx.to_pure_dict(nnx.grad(loss)(ours)),
        nnx.to_pure_dict(nnx.grad(loss)(theirs)),
        rtol=1e-12,
    )


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(normal):
    x, kernel = np.asarray(normal((4, 6, 7, 8))), np.asarray(normal((8, 6, 3, 2)))
    both = {"feature_group_count": 2, "batch_group_count": 2}
    with pytest.raises(ValueError, match="At most one of batch_group"):
        conv_general_dilated(x, kernel[:, :3], (1, 1), "SAME", **both)
    with pytest.raises(ValueError, match="batch_group_count must divide"):
        conv_general_dilated(x, kernel, (1, 1), "SAME", batch_group_count=3)
    with pytest.raises(TypeError, match="ndim to be equal"):
        conv_general_dilated(x, kernel[0], (1, 1), "SAME")
    with pytest.raises(ValueError, match="window_strides must be at least 1"):
        conv_general_dilated(x, kernel, (0, 1), "SAME")
    with pytest.raises(TypeError, match="lhs must be an array"):
        conv_general_dilated([1.0], kernel, (1, 1), "SAME")


def test_booleans_and_arrays_of_integers_are_lax_s(normal):
    x, kernel = normal((2, 3, 6, 5)), normal((4, 3, 2, 2))
    plain = lax.conv_general_dilated(x > 0, kernel > 0, (1, 1), "SAME")
    chex.assert_trees_all_equal(conv_general_dilated(x > 0, kernel > 0, (1, 1), "SAME"), plain)
    options = np.array([2, 1]), np.array([[1, 0], [-1, 2]]), np.array([1, 2])
    chex.assert_trees_all_close(
        conv_general_dilated(x, kernel, *options),
        lax.conv_general_dilated(x, kernel, *options),
        rtol=0,
        atol=1e-13,
    )


PAIRS = ((0, 0),) * 2
NUMBERS = lax.ConvDimensionNumbers((0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3))

MISTAKES = {
    "ranks": ((2, 3, 6, 5), (4, 3, 2), ((1, 1), "SAME")),
    "no dilation": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "VALID", None, (0, 1))),
    "short padding": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), ((0, 0),))),
    "triples": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), ((0, 0, 0),) * 2)),
    "no pairs": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), (1, 1))),
    "signedness": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", *(None,) * 3, 1, 1, None, "uint8")),
    "no stride": ((2, 3, 6, 5), (4, 3, 2, 2), ((0, 1), ((0, 0),) * 2)),
    "channels": ((2, 4, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME")),
    "layout": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, "NCHW")),
    "groups": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, None, 0)),
    "ranks of numbers": ((2, 3, 6, 5), (4, 3, 2), ((1, 1), PAIRS, None, None, NUMBERS)),
    "strides": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1, 1), PAIRS)),
    "groups of outputs": ((2, 6, 6, 5), (4, 2, 2, 2), ((1, 1), "SAME", None, None, None, 3)),
    "groups of inputs": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, None, 2)),
    "examples": ((3, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, None, 1, 2)),
    "no examples": ((3, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, None, 1, 0)),
    "both groups": ((2, 6, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", None, None, None, 2, 2)),
    "name of a padding": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "FULL")),
    "named padding": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", (2, 1))),
    "cropped": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), ((-4, -4), (0, 0)))),
    "precision": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", *(None,) * 3, 1, 1, "hi")),
    "unhashable": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", *(None,) * 3, 1, 1, {})),
    "narrow result": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", *(None,) * 3, 1, 1, None, "f2")),
    "no dtype": ((2, 3, 6, 5), (4, 3, 2, 2), ((1, 1), "SAME", *(None,) * 3, 1, 1, None, "number")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("no_type_checker")
def test_errors_are_those_of_lax(mistake, normal):
    x_shape, k_shape, arguments = MISTAKES[mistake]
    x, kernel = normal(x_shape), normal(k_shape)
    of_lax = (TypeError, ValueError, RuntimeError)
    with np.errstate(all="ignore"), pytest.raises(of_lax) as theirs:
        lax.conv_general_dilated(x, kernel, *arguments)
    with pytest.raises(theirs.type, match=r"conv_general_dilated") as ours:
        conv_general_dilated(x, kernel, *arguments)
    assert ours.type is theirs.type
    if mistake != "no stride":  # on which lax breaks
        assert str(theirs.value).splitlines()[0] in str(ours.value)


@pytest.mark.usefixtures("no_type_checker")
def test_mixed_dtypes_are_refused_in_the_words_of_lax(normal):
    x, kernel = normal((2, 3, 6, 5)), normal((4, 3, 2, 2), "float32")
    for of_ours, of_lax in (
        (conv_general_dilated, lax.conv_general_dilated),
        (jaxconv.lax.conv, lax.conv),
    ):
        with pytest.raises(TypeError) as theirs:
            of_lax(x, kernel, (1, 1), "SAME")
        with pytest.raises(TypeError) as ours:
            of_ours(x, kernel, (1, 1), "SAME")
        assert str(theirs.value).splitlines()[0] in str(ours.value)


@pytest.mark.usefixtures("no_type_checker")
def test_what_lax_goes_through_once(normal):
    x, kernel = normal((2, 3, 6, 5)), normal((4, 3, 2, 2))
    expected = conv_general_dilated(x, kernel, (1, 1), ((1, 0), (2, 1)))
    actual = conv_general_dilated(x, kernel, [1, 1], zip((1, 2), (0, 1), strict=True))
    chex.assert_trees_all_equal(actual, expected)


SETTINGS = {
    "ranks": lambda: jax.numpy_rank_promotion("raise"),
    "dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "no jit": jax.disable_jit,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_for_the_user_s_code_is_not_for_ours(setting, normal):
    """They forbid what depthwise convolutions, pools, narrow sums and the loss do inside."""
    x, kernel = normal((2, 4, 6, 5), "float32"), normal((4, 1, 2, 2), "float32")
    labels = jnp.array([0, 3], jnp.int8)

    def loss(kernel):
        y = conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=4)
        y = y.transpose(0, 2, 3, 1).astype("bfloat16")
        narrow = {"feature_group_count": 4, "kernel_dtype": "bfloat16"}
        z = jaxconv.max_pool(jaxconv.conv(y, kernel.T, **narrow).astype("float32"), 2)
        z = jaxconv.avg_pool(z, 2, padding=1, count_include_pad=False)
        return jaxconv.softmax_cross_entropy(z.sum((1, 2)), labels).sum()

    value_and_gradient = jax.value_and_grad(loss)
    expected = value_and_gradient(kernel)
    jax.clear_caches()
    with SETTINGS[setting]():
        chex.assert_trees_all_close(value_and_gradient(kernel), expected, rtol=1e-6)


def test_a_batch_of_none(normal):
    x, kernel = normal((0, 2, 3, 6, 5)), normal((4, 3, 2, 2))

    def f(x, kernel):
        return conv_general_dilated(x, kernel, (1, 1), "SAME")

    assert jax.vmap(f, in_axes=(0, None))(x, kernel).shape == (0, 2, 4, 6, 5)
    assert jax.vmap(f)(x, jnp.zeros((0, *kernel.shape))).shape == (0, 2, 4, 6, 5)


@pytest.mark.usefixtures("no_type_checker")
def test_precision_as_a_list(normal):
    x, kernel = normal((2, 3, 6, 5)), normal((4, 3, 2, 2))
    pair = ("highest", "highest")
    expected = conv_general_dilated(x, kernel, (1, 1), "SAME", precision=pair)
    actual = conv_general_dilated(x, kernel, (1, 1), "SAME", precision=[*pair])
    chex.assert_trees_all_equal(actual, expected)
