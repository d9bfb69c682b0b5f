"""`conv_general_dilated` against `jax.lax.conv_general_dilated`, argument by argument."""

import math
import os
from functools import partial
from string import ascii_lowercase

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import conv_general_dilated
from tests.oracles import assert_within_rounding, three_contractions, together

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
    "nothing left": ((2, 3, 4, 5), (4, 3, 1, 2), ((1, 1), ((-2, -2), (0, 1))), {}),
}


def draw_call(rng):
    """Shapes and arguments of a call that lax accepts, in any layout and up to four axes."""
    rank = int(rng.choice([0, 1, 1, 2, 2, 2, 3, 4]))
    most = {0: 1, 1: 9, 2: 6, 3: 4, 4: 3}[rank]

    def each(values):
        return [int(value) for value in rng.choice(values, rank)]

    size, window = each(range(1, most + 1)), each(range(1, min(most, 4) + 1))
    e, d, strides = each([1, 1, 1, 2, 3]), each([1, 1, 1, 2, 3]), each([1, 1, 2, 3])
    if set(e) <= {1} and rng.random() < 0.5:
        padding = str(rng.choice(["SAME", "SAME_LOWER", "VALID"]))
    else:
        lows, highs = each(range(-2, 5)), each(range(-2, 5))
        padding = [  # lax refuses to crop more than there is
            (lo, max(hi, -((i - 1) * a + 1) - lo))
            for lo, hi, i, a in zip(lows, highs, size, e, strict=True)
        ]
    groups, batches = ((1, 1), (1, 1), (2, 1), (3, 1), (1, 2))[rng.integers(5)]
    n, c, o = map(int, rng.integers(1, 4, 3))
    kernel = [o * groups * batches, c, *window]
    x = [n * batches, c * groups, *size]
    layouts = [rng.permutation(rank + 2) for _ in "xky"]
    letters = ascii_lowercase[:rank]
    names = ("NC" + letters, "OI" + letters, "NC" + letters)
    numbers = tuple("".join(s[i] for i in p) for s, p in zip(names, layouts, strict=True))
    # lax pairs options with spatial axes in the order of the kernel's layout.
    order = [letters.index(a) for a in numbers[1] if a in letters]
    strides, e, d = ([option[a] for a in order] for option in (strides, e, d))
    padding = padding if isinstance(padding, str) else [padding[a] for a in order]
    arguments = (strides, padding, e, d, numbers, groups, batches)
    return [x[i] for i in layouts[0]], [kernel[i] for i in layouts[1]], arguments, {}


def check_against_lax(calls, rng):
    """Value and both gradients of every call, and their dtypes; in two programs, ours and lax's."""
    ours, theirs = [], []
    for x_shape, k_shape, args, kwargs in calls:
        pair = [
            partial(lambda x, k, f, args, kwargs: f(x, k, *args, **kwargs), **common)
            for common in (
                {"f": f, "args": args, "kwargs": kwargs}
                for f in (conv_general_dilated, lax.conv_general_dilated)
            )
        ]
        x, kernel = rng.normal(size=x_shape), rng.normal(size=k_shape)
        y_bar = rng.normal(size=jax.eval_shape(pair[1], x, kernel).shape)
        for listed, f in zip((ours, theirs), pair, strict=True):
            listed.append((partial(three_contractions, f), x, kernel, y_bar))
    results = zip(calls, together(ours), together(theirs, magnitudes=True), strict=True)
    for (x_shape, k_shape, *call), actual, (expected, magnitude) in results:
        chex.assert_trees_all_equal_dtypes(actual, expected)
        terms = math.prod(x_shape) + math.prod(k_shape)
        for slot, *of_one in zip(("y", "x_bar", "k_bar"), actual, expected, magnitude, strict=True):
            assert_within_rounding(*of_one, terms, f"{slot} of {x_shape}, {k_shape}, {call}")


def test_equals_lax():
    check_against_lax(CALLS.values(), np.random.default_rng(0))


SEED = int(os.environ.get("JAXCONV_SEED", "0"))
FEW, MANY = 5, 16  # tests/fuzz/test_lax.py draws more


def test_drawn_calls_equal_lax():
    rng = np.random.default_rng([SEED, 0])
    check_against_lax([draw_call(rng) for _ in range(FEW)], rng)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, 21))
def test_more_drawn_calls_equal_lax(number):
    """`JAXCONV_SEED=7 pytest -m exhaustive tests/ops/test_general.py` draws other calls."""
    rng = np.random.default_rng([SEED, number])
    check_against_lax([draw_call(rng) for _ in range(MANY)], rng)


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
}


def network_loss(kernel, x, labels):
    """The operations whose rules promote ranks or dtypes inside the library."""
    y = conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=4)
    y = y.transpose(0, 2, 3, 1).astype("bfloat16")
    narrow = {"feature_group_count": 4, "kernel_dtype": "bfloat16"}
    z = jaxconv.max_pool(jaxconv.conv(y, kernel.T, **narrow).astype("float32"), 2)
    z = jaxconv.avg_pool(z, 2, padding=1, count_include_pad=False)
    return jaxconv.softmax_cross_entropy(z.sum((1, 2)), labels).sum()


@pytest.fixture
def network(normal):
    """The operands of `network_loss`."""
    x, kernel = normal((2, 4, 6, 5), "float32"), normal((4, 1, 2, 2), "float32")
    return kernel, x, jnp.array([0, 3], jnp.int8)


def loss_of_pools(x):
    """The same of the operations that change the size of a map."""
    y, argmax = jaxconv.max_pool_with_argmax(x, 2, padding=1)
    maps = [
        jaxconv.max_unpool(y, argmax, 2, padding=1, overlap="mean"),
        jaxconv.max_unpool(y.astype("bfloat16"), argmax.astype("uint8"), 2, padding=1),
        jaxconv.min_pool(x, 2, ties="split"),
        jaxconv.lp_pool(x, 3, 2, strides=3),
        jaxconv.adaptive_avg_pool(x, 4),
        jaxconv.adaptive_max_pool(x, (3, 4)),
        jaxconv.upscale(x, 2, "bilinear"),
        jaxconv.pixel_unshuffle(x, (2, 1)),
        jaxconv.fold(jaxconv.unfold(x, 2).astype("bfloat16"), 2),
    ]
    rows = [z.reshape(-1).astype("float32") for z in maps]
    return jaxconv.dropout(jnp.concatenate(rows), jnp.concatenate(rows) > 0, 0.3).sum()


@pytest.mark.parametrize("setting", SETTINGS)
def test_promotion_that_the_user_forbids_is_allowed_inside(setting, network):
    """Tracing and lowering raise no error. Nothing needs to be compiled to see it."""
    jax.clear_caches()
    _, x, _ = network
    with SETTINGS[setting]():
        jax.jit(jax.value_and_grad(network_loss)).lower(*network)
        jax.jit(jax.value_and_grad(loss_of_pools)).lower(x.transpose(0, 2, 3, 1))


def test_runs_without_jit(normal):
    x, kernel = normal((1, 6, 5, 2)), normal((2, 2, 2, 3))
    gradient = jax.grad(lambda kernel: jaxconv.max_pool(jaxconv.conv(x, kernel), 2).sum())
    expected = jax.jit(gradient)(kernel)
    with jax.disable_jit():
        chex.assert_trees_all_close(gradient(kernel), expected, rtol=1e-12)


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


@pytest.mark.usefixtures("no_type_checker")  # which takes sizes for integers
def test_batch_groups_of_any_number_of_examples(normal):
    x, kernel = normal((5, 7, 4, 3)), normal((3, 2, 3, 8))
    options = {
        "window_strides": (1, 2),
        "padding": ((1, 0), (0, 1)),
        "dimension_numbers": ("HWNC", "HWIO", "HWNC"),
        "batch_group_count": 2,
    }
    (n,) = jax.export.symbolic_shape("2*n")
    f = jax.jit(partial(conv_general_dilated, **options))
    exported = jax.export.export(f)(jax.ShapeDtypeStruct((5, 7, n, 3), x.dtype), kernel)
    expected = lax.conv_general_dilated(x, kernel, **options)
    np.testing.assert_allclose(exported.call(x, kernel), expected, rtol=1e-12, atol=1e-12)
