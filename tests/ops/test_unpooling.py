"""Where the maxima were, and unpooling as the transpose of the choice."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxconv import max_pool, max_pool_with_argmax, max_unpool, reference
from jaxconv.ops._pool_options import PoolOptions
from jaxconv.ops._unpooling import _argmax_to_taps, _taps_to_argmax
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

WINDOWS = [
    ((7,), 3, {"strides": 2}),
    ((8, 6), 2, {}),
    ((9, 7), (2, 3), {"strides": (1, 2), "padding": ((1, 0), (2, 1)), "window_dilation": (3, 1)}),
    ((5, 4, 6), (2, 3, 2), {"strides": (2, 1, 3), "padding": "SAME"}),
]


def pooled(x, window, options):
    """`max_pool_with_argmax` as one program, which compiles sooner than its many steps."""
    return jax.jit(partial(max_pool_with_argmax, window_shape=window, **options))(x)


def test_equals_the_definition(normal):
    """Pooling, unpooling and the transposes of both, over all windows.

    The gradient of a max pool unpools the cotangent; the gradient of an unpooling chooses again.
    """
    calls = []
    for spatial, window, options in WINDOWS:
        x, v = (np.asarray(normal((2, *spatial, 3))) for _ in range(2))
        shape = reference.max_pool(x, window, **options).shape
        options = {"window_shape": window, **options}

        def modes(x, v, y_bar, options=options):
            size = x.shape[1:-1]
            (y, argmax), pull_back = jax.vjp(partial(max_pool_with_argmax, **options), x)
            (x_bar,) = pull_back((y_bar, np.zeros(argmax.shape, jax.dtypes.float0)))
            results = {"y": y, "argmax": argmax, "x_bar": x_bar}
            for overlap in ("sum", "mean"):
                unpool = partial(
                    max_unpool, argmax=argmax, **options, output_size=size, overlap=overlap
                )
                results[overlap], tangent = jax.jvp(unpool, (y_bar,), (2 * y_bar,))
                results[f"tangent of {overlap}"] = tangent
                results[f"transpose of {overlap}"] = jax.vjp(unpool, y_bar)[1](v)[0]
            pool = partial(max_pool, **options)
            results["chosen"] = jax.jvp(pool, (x,), (v,))[1]
            return results

        calls.append((modes, x, v, np.asarray(normal(shape))))
    for case, (_, x, v, y_bar), results in zip(WINDOWS, calls, together(calls), strict=True):
        spatial, window, options = case
        y, argmax = reference.max_pool_with_argmax(x, window, **options)
        chex.assert_trees_all_equal((results["y"], results["argmax"]), (y, argmax.astype("int32")))
        terms = np.prod(argmax.shape[1:-1])
        for overlap in ("sum", "mean"):
            expected = reference.max_unpool(y_bar, argmax, spatial, overlap=overlap)
            scale = reference.max_unpool(np.abs(y_bar), argmax, spatial)
            assert_within_rounding(results[overlap], expected, scale, terms, f"{case}, {overlap}")
            tangent = results[f"tangent of {overlap}"]
            assert_within_rounding(tangent, 2 * expected, 2 * scale, terms, f"{case}, {overlap}")
            back = results[f"transpose of {overlap}"]
            both = np.abs(results[overlap]).sum() * np.abs(v).max()
            assert_within_rounding(np.vdot(back, y_bar), np.vdot(results[overlap], v), both, terms)
        chex.assert_trees_all_equal(results["x_bar"], results["sum"])
        chex.assert_trees_all_equal(results["transpose of sum"], results["chosen"])


def test_mean_gives_back_what_was_pooled(normal):
    """As in PyTorch, however many windows share a maximum."""
    x = normal((2, 9, 8, 3))
    y, argmax = pooled(x, 3, {"strides": 1})
    options = {"strides": 1, "output_size": (9, 8), "overlap": "mean"}
    unpool = jax.jit(lambda y: max_unpool(y, argmax, 3, **options))
    back = unpool(y)
    assert_within_rounding(back, np.where(back == 0, 0, x), np.abs(x), 9)
    assert (back != 0).sum() == sum(len(np.unique(argmax[n, ..., c])) for n, c in np.ndindex(2, 3))


def test_modes(normal):
    x = normal((2, 6, 4, 2))

    def loss(x):
        y, argmax = max_pool_with_argmax(jnp.sin(x), 2)
        return jnp.sum(max_unpool(y**2, argmax, 2) ** 2)

    def plain(x):  # the same without unpooling: nothing overlaps
        return jnp.sum(max_pool(jnp.sin(x), 2) ** 4)

    def modes(f):
        return (
            jax.grad(f)(x),
            jax.jvp(jax.grad(f), (x,), (jnp.cos(x),))[1],
            jax.vmap(jax.grad(f))(jnp.stack([x, x + 1])),
            jax.lax.scan(lambda s, a: (s + jax.grad(f)(a * x), None), x, jnp.arange(1.0, 3))[0],
        )

    actual, expected = jax.jit(lambda: (modes(loss), modes(plain)))()
    for a, b in zip(actual, expected, strict=True):
        assert_within_rounding(a, b, np.abs(b).max() + 12, 16)


def test_size_is_the_smallest_or_a_multiple(normal):
    y = normal((1, 3, 1))
    argmax = np.zeros(y.shape, int)

    def shape_of(*args, **options):
        unpool = partial(max_unpool, **options)
        return jax.eval_shape(lambda y, argmax: unpool(y, argmax, *args), y, argmax).shape

    for padding, size in [("VALID", 10), ("SAME", 9), (1, 8)]:
        assert shape_of(4, 3, padding) == (1, size, 1)
    assert shape_of(4, 3, output_size=(12,)) == (1, 12, 1)


def test_pixels_outside_of_their_window_receive_nothing():
    y = jnp.array([1.0, 2, 4, 8]).reshape(1, 4, 1)
    argmax = jnp.array([1, 1, -1, 99]).reshape(1, 4, 1)  # right; of another window; none; none
    assert max_unpool(y, argmax, 2)[0, :, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((7,), (3, 2)),
        ((9,), (3, 2, ((2, 1),), 2)),
        ((4, 5), ((2, 3), (3, 1), ((1, 0), (0, 2)), (1, 2))),
    ],
    ids=str,
)
def test_every_number_of_a_pixel_and_every_tap(size, options):
    """A window has the tap that a pixel lies under, for each pixel and each window, or none."""
    geometry = PoolOptions("f", *options).geometry(size)
    numbers = np.arange(-2, np.prod(size) + 2)  # two on either side number no pixel
    windows, taps = geometry.output_size, [*np.ndindex(*geometry.window)]
    expected = np.full((len(numbers), *windows, 1), -1)
    for p in np.ndindex(*windows):
        for m, tap in enumerate(taps):
            places = zip(geometry.axes(), p, tap, strict=True)
            pixel = [axis.s * q + axis.d * r - axis.lo for axis, q, r in places]
            if all(0 <= i < n for i, n in zip(pixel, size, strict=True)):
                expected[2 + np.ravel_multi_index(pixel, size), *p] = m

    @jax.jit
    def there_and_back(argmax):
        m = _argmax_to_taps(argmax, geometry)
        return m, _taps_to_argmax(m, geometry)

    every = np.broadcast_to(numbers.reshape(-1, *(1,) * (len(size) + 1)), expected.shape)
    m, argmax = there_and_back(every)
    np.testing.assert_array_equal(m, expected)
    np.testing.assert_array_equal(argmax, np.where(expected < 0, -1, every))


def test_numbers_of_any_integer_dtype():
    """Of a map of 300 pixels, more than 8 bits can count; 32 bits may hold yet larger numbers."""
    geometry = PoolOptions("f", 2).geometry((300,))
    numbers = np.zeros((1, 150, 1), int)  # the first pixel, which is in the first window only
    numbers[0, :63, 0] = 2 * np.arange(63) + 1
    expected = np.full(numbers.shape, -1)
    expected[0, :63] = 1
    taps = partial(_argmax_to_taps, geometry=geometry)
    dtypes = ("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64")
    for dtype, m in zip(dtypes, together([(taps, numbers.astype(d)) for d in dtypes]), strict=True):
        np.testing.assert_array_equal(m, expected, err_msg=dtype)
    # The low 32 bits of these are the number of a pixel.
    beyond = [(taps, numbers.astype(dtype) + 2**32) for dtype in ("int64", "uint64")]
    assert all(
        (m == -1).all() for m in together([*beyond, (taps, numbers.astype("uint32") + 2**31)])
    )


def test_numbers_of_numpy_with_64_bits_where_jax_has_32():
    """As PyTorch gives them."""
    y, argmax = np.array([[[1.0], [2.0]]], np.float32), np.array([[[1], [2]]])
    with jax.enable_x64(False):
        assert max_unpool(y, argmax, 2)[0, :, 0].tolist() == [0, 1, 2, 0]
        back = max_unpool(y, argmax, 2, overlap="mean", check_argmax=True)
    assert back.dtype == np.float32


def test_a_number_beyond_int32_is_found_on_request():
    y, argmax = jnp.array([[[1.0], [2.0]]]), jnp.array([[[1], [2**32 + 2]]])
    with pytest.raises(checkify.JaxRuntimeError, match="1 of them, the first 4294967298, are not"):
        max_unpool(y, argmax, 2, check_argmax=True)


def test_numbers_of_another_kind_are_found_on_request():
    """Counted over channels, too, as TensorFlow counts: lost values without the check."""
    y = jnp.arange(1.0, 9).reshape(1, 2, 2, 2)
    pixels = jnp.array([[0, 3], [8, 15]])[None, :, :, None] + jnp.zeros((1, 2, 2, 2), int)
    over_channels = 2 * pixels + jnp.arange(2)
    assert max_unpool(y, pixels, 2, check_argmax=True).sum() == y.sum()
    assert max_unpool(y, over_channels, 2).sum() < y.sum()
    message = r"of output_size \(4, 4\) without channels, but 4 of them, the first 16, are not in"
    with pytest.raises(checkify.JaxRuntimeError, match="max_unpool: argmax must number pixels"):
        max_unpool(y, over_channels, 2, check_argmax=True)

    def loss(y, argmax):
        return jnp.sum(max_unpool(y, argmax, 2, check_argmax=True) ** 2)

    checked = jax.jit(checkify.checkify(jax.value_and_grad(loss)))
    error, (_, y_bar) = checked(y, pixels)
    error.throw()
    chex.assert_trees_all_equal(y_bar, 2 * y)
    with pytest.raises(checkify.JaxRuntimeError, match=message):
        checked(y, over_channels)[0].throw()
    masked = pixels.at[0, 0, 0].set(-1)  # which is how to leave a window out
    max_unpool(y, masked, 2, check_argmax=True)


def test_a_forgotten_size_is_named_by_the_next_unpooling(normal):
    """Of a map of odd size the first unpooling makes too small a one."""
    x = normal((1, 11, 1))
    y, first = max_pool_with_argmax(x, 2)
    z, second = max_pool_with_argmax(y, 2)
    with pytest.raises(ValueError, match=r"got \(1, 5, 1\) and \(1, 4, 1\).*the output_size of"):
        max_unpool(max_unpool(z, second, 2), first, 2)
    back = max_unpool(max_unpool(z, second, 2, output_size=(5,)), first, 2, output_size=(11,))
    assert back.shape == x.shape


def test_windows_of_padding_alone_have_no_pixel():
    y, argmax = max_pool_with_argmax(jnp.ones((1, 2, 1)), 2, 2, ((2, 2),))
    assert argmax[0, :, 0].tolist() == [-1, 0, -1]
    back = max_unpool(y, argmax, 2, 2, ((2, 2),))
    assert back[0, :, 0].tolist() == [1, 0]


BAD_CALLS = {
    "shapes": (lambda y, i: max_unpool(y, i[:, :2], 2), ValueError, "argmax must have the shape"),
    "floats": (lambda y, i: max_unpool(y, y, 2), TypeError, "argmax must hold integers"),
    "rank": (lambda y, i: max_unpool(y[0, 0], i, 2), ValueError, "max_unpool: y must be"),
    "size": (
        lambda y, i: max_unpool(y, i, 2, output_size=(4, 9)),
        ValueError,
        r"output_size \(4, 9\) would be pooled to \(2, 4\), but y has \(3, 2\)",
    ),
    "overlap": (lambda y, i: max_unpool(y, i, 2, overlap="last"), ValueError, "overlap must be"),
    "check": (
        lambda y, i: max_unpool(y, i, 2, check_argmax=1),
        TypeError,
        "check_argmax must be a bool",
    ),
    "mean of integers": (
        lambda y, i: max_unpool(i, i, 2, overlap="mean"),
        TypeError,
        "y must be floating point",
    ),
    "window": (lambda y, i: max_unpool(y, i, 0), ValueError, "max_unpool: window_shape"),
    "strides": (lambda y, i: max_unpool(y, i, 2, (1, 2, 3)), ValueError, "max_unpool: strides"),
    "padding": (
        lambda y, i: max_unpool(y, i, 2, padding=-1),
        ValueError,
        "max_unpool: padding must not be negative",
    ),
    "no map": (lambda y, i: max_pool_with_argmax(y[0, 0], 2), ValueError, "x must be"),
    "too large": (
        lambda y, i: jax.eval_shape(
            lambda x: max_pool_with_argmax(x, 2), jax.ShapeDtypeStruct((1, 2**16, 2**16, 1), float)
        ),
        ValueError,
        "int32 cannot number the pixels",
    ),
    "of too large a result": (
        lambda y, i: jax.eval_shape(lambda: max_unpool(y, i, 10**6)),
        ValueError,
        "max_unpool: int32 cannot number the pixels of the output_size, .* window_shape",
    ),
    "too far apart": (
        lambda y, i: max_pool_with_argmax(y, 2, (1, 2**31)),
        ValueError,
        "int32 cannot number the positions of windows with strides",
    ),
    "too much padding": (
        lambda y, i: jax.eval_shape(lambda: max_pool_with_argmax(y, 2, padding=2**63)),
        ValueError,
        "int32 cannot number the positions of windows with .* padding",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 3, 2, 4)), np.zeros((2, 3, 2, 4), int))
